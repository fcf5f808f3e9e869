"""The folder where weights are kept, each in a folder of its own beside the record of what it is and came from."""

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
from moonseg3r_core.weights.catalog import ALIASES, CATALOG, entry_of
from moonseg3r_core.weights.embedded import EMBEDDED, embedded
from moonseg3r_core.weights.entry import Entry

FOLDER = "MOONSEG3R_WEIGHTS"
RECORD = "record.json"
_FILES = (".safetensors", ".pth", ".pt")  # what `find` takes as a file's own name
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Kept:
    """A file that is kept, with its size in bytes, time of change and sha256, and the published one it was made of."""

    name: str
    size: int
    modified_ns: int
    sha256: str
    source: str
    source_sha256: str


@dataclass(frozen=True)
class Record:
    """What is kept under a name."""

    name: str
    licence: str
    files: tuple[Kept, ...]


def store_folder() -> Path:
    """`$MOONSEG3R_WEIGHTS`, else `moonseg3r/weights` in the user's cache folder."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "moonseg3r" / "weights"


def folder_of(entry: Entry) -> Path:
    """The folder of an entry, be it there or not."""
    return store_folder() / entry.name


def place_of(entry: Entry) -> Path:
    """Where an entry is kept, be it there or not: its one file, or the folder of its files."""
    return folder_of(entry) / entry.files[0] if len(entry.files) == 1 else folder_of(entry)


def record_of(place: Path) -> Record | None:
    """What was recorded when a file or folder was installed; None for any other."""
    whole = place.is_dir()
    try:
        content = read_json(((place if whole else place.parent) / RECORD).read_text())
        record = Record(content["name"], content["licence"], tuple(Kept(**file) for file in content["files"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if not all(_is_sound(file) for file in record.files):
        return None
    return record if whole or place.name in {file.name for file in record.files} else None


def is_installed(entry: Entry) -> bool:
    """Whether all files of an entry are there with their record; what is in them is for `check`."""
    record = record_of(folder_of(entry))
    known = {file.name for file in record.files} if record else set()
    return all(name in known and (folder_of(entry) / name).is_file() for name in entry.files)


def find(weights: str | Path) -> Path:
    """The installed file (of a model of several files: the folder) of a name in the catalog, the file in the package, or
    what is there itself where a path is given.

    Raises WeightsError that says what is missing, where, and the command that gets it.
    """
    name, path = str(weights), Path(weights).expanduser()
    if name in EMBEDDED:
        return embedded(name)
    if name not in CATALOG and name not in ALIASES and (path.suffix in _FILES or len(path.parts) > 1 or path.exists()):
        if not path.exists():
            raise WeightsError(
                f"weights expect a file or folder, got {path}, which is none; `moonseg3r weights list` says what can be had."
            )
        return path
    entry = entry_of(name)
    if not is_installed(entry):
        raise WeightsError(
            f"{entry.name} needs {place_of(entry)}, which is not installed; get it: moonseg3r weights get {entry.name}"
        )
    return place_of(entry)


def hash_of(place: Path) -> str:
    """The sha256 of a file, or the one of a folder over its files' names and hashes; an installed file that has its size
    and time of change since is not read for it.

    Raises WeightsError for an installed file that is not what was installed, or one that cannot be read.
    """
    return _hash(place, lambda file, kept: kept.sha256 if kept and _is_untouched(file, kept) else sha256_of(file))


def check(place: Path) -> str:
    """As `hash_of`, counted from all of every file."""
    return _hash(place, lambda file, kept: sha256_of(file))


def sha256_of(file: Path) -> str:
    """The sha256 of all of a file, in hexadecimal. Raises WeightsError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}; give a file of weights.") from error
    return digest.hexdigest()


def write_record(record: Record, folder: Path) -> None:
    """Put a record beside its files, on the disk itself."""
    with write_atomically(folder / RECORD) as part:
        part.write_text(json.dumps(asdict(record), indent=1))


def find_file(name: str) -> Path:
    """The one file of weights under a name or path, which their authors' own packages read.

    Raises WeightsError for a folder that does not hold one .pt or .pth file.
    """
    path = find(name)
    files = [path] if path.is_file() else sorted((*path.glob("*.pt"), *path.glob("*.pth")))
    if len(files) != 1:
        raise WeightsError(f"{path} must hold one file of weights (.pt, .pth), got {len(files)}; give the file itself.")
    return files[0]


def _hash(place: Path, count: Callable[[Path, Kept | None], str]) -> str:
    """The hash of a file or folder, each file's as `count` gives it and compared with the recorded one."""
    record = record_of(place)
    kept = {file.name: file for file in record.files} if record else {}
    names = (sorted(kept) or _names(place)) if place.is_dir() else [place.name]
    folder = place if place.is_dir() else place.parent
    hashes = {name: count(folder / name, kept.get(name)) for name in names}
    for name in kept.keys() & hashes.keys():
        _compare(folder / name, kept[name].sha256, hashes[name])
    if not place.is_dir():
        return hashes[place.name]
    return hashlib.sha256("".join(f"{hashes[name]}  {name}\n" for name in names).encode()).hexdigest()


def _is_sound(file: Kept) -> bool:
    """Whether every fact is of its kind, and the name one of a file in the record's own folder."""
    kinds = {"size": int, "modified_ns": int}
    sound = all(type(value) is kinds.get(name, str) for name, value in asdict(file).items())
    return sound and file.name == Path(file.name).name and "\0" not in file.name


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _compare(file: Path, recorded: str, found: str) -> None:
    if found != recorded:
        raise WeightsError(
            f"{file} must have the sha256 {recorded} as when it was installed, got {found}; remove the folder "
            f"{file.parent} and get it again: moonseg3r weights get {file.parent.name}"
        )


def _is_untouched(file: Path, kept: Kept) -> bool:
    try:
        facts = file.stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (kept.size, kept.modified_ns)
