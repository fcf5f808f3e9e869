"""How each kind of publisher gives its files away: Google Drive, a web server, the Hugging Face hub."""

from __future__ import annotations

import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from moonseg3r_core.errors import MissingDependency
from moonseg3r_core.weights.entry import DriveFile, Entry, HubFiles, WebFile
from moonseg3r_core.weights.transfer import bring

LIBRARIES = {"gdown": "gdown>=5", "huggingface_hub": "huggingface_hub>=0.34"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Got:
    """A published file that is here: its official address, and its sha256 where the publisher gives that."""

    path: Path
    address: str
    sha256: str = ""


def from_drive(entry: Entry, source: DriveFile, folder: Path) -> list[Got]:
    target = folder / source.name
    gdown = _library("gdown", entry)
    gdown.download(id=source.id, output=str(target), quiet=not sys.stderr.isatty(), resume=True)
    if not target.is_file():
        raise FileNotFoundError("no file came")
    return [Got(target, source.address, source.sha256)]


def from_web(entry: Entry, source: WebFile, folder: Path) -> list[Got]:
    target = folder / source.names[0]
    bring(source.address, target)
    return [Got(target, source.address, source.sha256)]


def from_hub(entry: Entry, source: HubFiles, folder: Path) -> list[Got]:
    """All files as they were at one moment: those after the first are asked for by its commit."""
    hub = _library("huggingface_hub", entry)
    endpoint, revision, got = os.environ.get("HF_ENDPOINT") or None, "main", list[Got]()
    headers = importlib.import_module("huggingface_hub.utils").build_hf_headers()
    for path, name in zip(source.paths, source.names, strict=True):
        place = {"repo_id": source.repository, "filename": path, "repo_type": source.kind, "endpoint": endpoint}
        address = hub.hf_hub_url(**place, revision=revision)
        facts = hub.get_hf_file_metadata(address, headers=headers)
        revision = facts.commit_hash or revision
        known = headers if urlsplit(facts.location).netloc == urlsplit(address).netloc else {}
        bring(facts.location, folder / name, known, facts.etag or "", facts.size)
        published = facts.etag if facts.etag and _SHA256.fullmatch(facts.etag) else ""
        got.append(Got(folder / name, hub.hf_hub_url(**place, revision=revision), published))
    return got


def _library(name: str, entry: Entry) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            f"downloading {entry.name} expects {name}, which is not here ({error}); run "
            f'python -m pip install "{LIBRARIES[name]}", or {by_hand(entry)}'
        ) from error


def by_hand(entry: Entry) -> str:
    """What to do where downloading fails."""
    names = entry.source.names
    where = names[0] if len(names) == 1 else "FOLDER"
    what = f"save {', '.join(names)} from {entry.source.address} with a browser"
    return f"{what}, then: moonseg3r weights get {entry.name} --from {where}"
