"""Downloads published files from Google Drive, a web server or the Hugging Face hub."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.request import Request, urlopen

from tqdm import tqdm

from moonseg3r_core.errors import MissingDependency
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.weights.entry import DriveFile, Entry, HubFiles, WebFile

LIBRARIES = {"gdown": "gdown>=5", "huggingface_hub": "huggingface_hub>=0.34"}
TIMEOUT_S = 60.0  # without a byte


@dataclass(frozen=True)
class PublishedFile:
    """A published file on this machine: its official address, and its sha256 where the publisher gives that."""

    path: Path
    address: str
    sha256: str = ""


def download_from_drive(entry: Entry, source: DriveFile, folder: Path) -> list[PublishedFile]:
    """Download a file from Google Drive; an earlier attempt is continued."""
    target = folder / source.name
    gdown = _import_library("gdown", entry)
    gdown.download(id=source.id, output=str(target), quiet=not sys.stderr.isatty(), resume=True)
    if not target.is_file():
        raise FileNotFoundError("no file came")
    return [PublishedFile(target, source.address, source.sha256)]


def download_from_web(entry: Entry, source: WebFile, folder: Path) -> list[PublishedFile]:
    """Download a file by its address, never by way of a server without encryption."""
    target = folder / source.names[0]
    with urlopen(Request(source.address, headers={"User-Agent": "moonseg3r"}), timeout=TIMEOUT_S) as response:
        if source.address.startswith("https:") and not response.url.startswith("https:"):
            raise ConnectionError(f"the server redirects to {response.url}, which is not encrypted")
        size = response.length
        with (
            tqdm.wrapattr(response, "read", total=size, desc=target.name, disable=None) as stream,
            write_atomically(target) as part,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file)
            if size not in (None, file.tell()):
                raise ConnectionError(f"the connection ended after {file.tell()} of {size} bytes")
    return [PublishedFile(target, source.address, source.sha256)]


def download_from_hub(entry: Entry, source: HubFiles, folder: Path) -> list[PublishedFile]:
    """Download files of one commit from the Hugging Face hub, which tells the sha256 of large ones."""
    hub = _import_library("huggingface_hub", entry)
    if not sys.stderr.isatty():
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    info = api.repo_info(source.repository, repo_type=source.kind, files_metadata=True)
    published = {file.rfilename: file.lfs.sha256 for file in info.siblings if file.lfs}
    files = []
    for path in source.paths:
        place = {"repo_id": source.repository, "filename": path, "repo_type": source.kind, "revision": info.sha}
        address = hub.hf_hub_url(**place, endpoint=api.endpoint)
        file = Path(api.hf_hub_download(**place, local_dir=folder))
        files.append(PublishedFile(file, address, published.get(path, "")))
    return files


def describe_manual_way(entry: Entry) -> str:
    """Tell how to install an entry that this machine cannot download."""
    names = entry.source.names
    where = names[0] if len(names) == 1 else "FOLDER"
    what = f"save {', '.join(names)} from {entry.source.address} with a browser"
    return f"{what}, then: moonseg3r weights get {entry.name} --from {where}"


def _import_library(name: str, entry: Entry) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            f"downloading {entry.name} expects {name}, which is not here ({error}); run "
            f'python -m pip install "{LIBRARIES[name]}", or {describe_manual_way(entry)}'
        ) from error
