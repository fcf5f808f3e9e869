"""The only network code: a published file comes into a folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.weights.catalog import Entry

INSTALL = 'python -m pip install "gdown>=5"'


def download(entry: Entry, folder: Path) -> Path:
    """Bring an entry's published file into a folder; what was brought is not checked here.

    Raises MissingDependency without gdown, InputError where nothing comes.
    """
    target = folder / entry.source.name
    gdown = _import_gdown(entry)
    try:
        gdown.download(id=entry.source.id, output=str(target), quiet=not sys.stderr.isatty())
    except Exception as error:  # gdown's own, the network's, the disk's
        reason = " ".join(str(error).split())
        raise InputError(f"{entry.source.address} did not come ({reason}); {by_hand(entry)}") from error
    if not target.is_file():
        raise InputError(f"{entry.source.address} did not come; {by_hand(entry)}")
    return target


def by_hand(entry: Entry) -> str:
    """What to do where downloading fails."""
    return f"save it with a browser, then: moonseg3r weights get {entry.name} --from {entry.source.name}"


def _import_gdown(entry: Entry) -> ModuleType:
    try:
        return importlib.import_module("gdown")
    except ImportError as error:
        raise MissingDependency(
            f"downloading {entry.name} from Google Drive expects gdown, which is not here ({error}); run {INSTALL}, or "
            f"give the file: moonseg3r weights get {entry.name} --from {entry.source.name}"
        ) from error
