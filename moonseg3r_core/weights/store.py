"""Finds weights in the store: a folder for each entry, with a record of what its files are and where they came from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.io.text import read_json
from moonseg3r_core.weights.catalog import ALIASES, CATALOG, find_entry
from moonseg3r_core.weights.embedded import EMBEDDED, find_embedded
from moonseg3r_core.weights.entry import Entry

FOLDER = "MOONSEG3R_WEIGHTS"
RECORD = "record.json"
_FILES = (".safetensors", ".pth", ".pt")  # suffixes of a path given instead of a name
_CHUNK = 1 << 20


@dataclass(frozen=True)
class InstalledFile:
    """A file in the store, with its size in bytes, time of change and sha256, and the published file it was made of."""

    name: str
    size: int
    modified_ns: int
    sha256: str
    source: str
    source_sha256: str


@dataclass(frozen=True)
class Record:
    """The files in an entry's folder, and their licence."""

    name: str
    licence: str
    files: tuple[InstalledFile, ...]


def get_store_folder() -> Path:
    """Get `$MOONSEG3R_WEIGHTS`, else `moonseg3r/weights` in the user's cache folder."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "moonseg3r" / "weights"


def get_folder(entry: Entry) -> Path:
    """Get the folder of an entry, whether it exists or not."""
    return get_store_folder() / entry.name


def get_place(entry: Entry) -> Path:
    """Get an entry's one file, or the folder of its files, whether it exists or not."""
    return get_folder(entry) / entry.files[0] if len(entry.files) == 1 else get_folder(entry)


def read_record(place: Path) -> Record | None:
    """Read the record of an installed file or folder; None for any other."""
    whole = place.is_dir()
    try:
        content = read_json(((place if whole else place.parent) / RECORD).read_text())
        files = tuple(InstalledFile(**file) for file in content["files"])
        record = Record(content["name"], content["licence"], files)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if whole or place.name in {file.name for file in record.files} else None


def is_installed(entry: Entry) -> bool:
    """Whether all files of an entry exist with their record; `check` compares their content."""
    record = read_record(get_folder(entry))
    known = {file.name for file in record.files} if record else set()
    return all(name in known and (get_folder(entry) / name).is_file() for name in entry.files)


def find(weights: str | Path) -> Path:
    """Find the file or folder of weights: by a name in the catalog, a name of the package's own, or a path.

    Raises WeightsError with what is missing, where, and the command that gets it.
    """
    name, path = str(weights), Path(weights).expanduser()
    if name in EMBEDDED:
        return find_embedded(name)
    if name not in CATALOG and name not in ALIASES and (path.suffix in _FILES or len(path.parts) > 1 or path.exists()):
        if not path.exists():
            raise WeightsError(
                f"weights expect a file or folder, got {path}, which is none; `moonseg3r weights list` says what can be had."
            )
        return path
    entry = find_entry(name)
    if not is_installed(entry):
        raise WeightsError(
            f"{entry.name} needs {get_place(entry)}, which is not installed; get it: moonseg3r weights get {entry.name}"
        )
    return get_place(entry)


def find_file(name: str) -> Path:
    """Find the one file of weights under a name or path, for a package that reads a .pt or .pth file.

    Raises WeightsError for a folder with none or several.
    """
    path = find(name)
    files = [path] if path.is_file() else sorted((*path.glob("*.pt"), *path.glob("*.pth")))
    if len(files) != 1:
        raise WeightsError(f"{path} must hold one file of weights (.pt, .pth), got {len(files)}; give the file itself.")
    return files[0]


def compute_hash(place: Path) -> str:
    """Compute the sha256 of a file, or of the names and hashes of a folder's files.

    The record answers for an installed file whose size and time of change are unchanged. Raises WeightsError for an
    installed file with another hash than its record, or one that cannot be read.
    """
    return _combine_hashes(
        place, lambda file, known: known.sha256 if known and _is_untouched(file, known) else compute_sha256(file)
    )


def check(place: Path) -> str:
    """Compute a hash as `compute_hash` does, from all bytes of every file."""
    return _combine_hashes(place, lambda file, known: compute_sha256(file))


def compute_sha256(file: Path) -> str:
    """Compute the sha256 of all of a file, in hexadecimal. Raises WeightsError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}; give a file of weights.") from error
    return digest.hexdigest()


def write_record(record: Record, folder: Path) -> None:
    """Write a record beside its files."""
    with write_atomically(folder / RECORD) as part:
        part.write_text(json.dumps(asdict(record), indent=1))


def _combine_hashes(place: Path, compute: Callable[[Path, InstalledFile | None], str]) -> str:
    """Combine the hashes of a place's files; each must equal the recorded one."""
    record = read_record(place)
    known = {file.name: file for file in record.files} if record else {}
    names = (sorted(known) or _list_names(place)) if place.is_dir() else [place.name]
    folder = place if place.is_dir() else place.parent
    hashes = {name: compute(folder / name, known.get(name)) for name in names}
    for name in known.keys() & hashes.keys():
        if hashes[name] != known[name].sha256:
            raise WeightsError(
                f"{folder / name} must have the sha256 {known[name].sha256} as when it was installed, got {hashes[name]}; "
                f"remove the folder {folder} and get it again: moonseg3r weights get {folder.name}"
            )
    if not place.is_dir():
        return hashes[place.name]
    return hashlib.sha256("".join(f"{hashes[name]}  {name}\n" for name in names).encode()).hexdigest()


def _list_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _is_untouched(file: Path, known: InstalledFile) -> bool:
    try:
        facts = file.stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (known.size, known.modified_ns)
