"""The folder where weights are kept, each in a folder of its own beside the record of what it is and came from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from moonseg3r_core.errors import InputError
from moonseg3r_core.weights.catalog import ALIASES, CATALOG, Entry, entry_of
from moonseg3r_core.weights.embedded import EMBEDDED, embedded

FOLDER = "MOONSEG3R_WEIGHTS"
RECORD = "record.json"
_FILES = (".safetensors", ".pth")  # what `find` takes as a file's own name
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What is kept under a name: the file with its size in bytes, time of change and sha256, and the same of the
    published file that it was made of.
    """

    name: str
    file: str
    size: int
    modified_ns: int
    sha256: str
    source: str
    source_sha256: str
    licence: str


def store_folder() -> Path:
    """`$MOONSEG3R_WEIGHTS`, else `moonseg3r/weights` in the user's cache folder."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "moonseg3r" / "weights"


def place_of(entry: Entry) -> Path:
    """Where the file of an entry is kept, be it there or not."""
    return store_folder() / entry.name / entry.file


def record_of(file: Path) -> Record | None:
    """What was recorded when a file was installed; None for any other file."""
    try:
        record = Record(**json.loads((file.parent / RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.file == file.name else None


def is_installed(entry: Entry) -> bool:
    """Whether the file of an entry is there with its record; what is in it is for `check`."""
    return place_of(entry).is_file() and record_of(place_of(entry)) is not None


def find(weights: str | Path) -> Path:
    """The installed file of a name in the catalog, the one in the package, or the file itself where a path is given.

    Raises InputError that says which file is missing, where, and the command that gets it.
    """
    name, path = str(weights), Path(weights).expanduser()
    if name in EMBEDDED:
        return embedded(name)
    if name not in CATALOG and name not in ALIASES and (path.suffix in _FILES or path.exists()):
        if not path.is_file():
            raise InputError(
                f"weights expect a file, got {path}, which is none; `moonseg3r weights list` says what can be had."
            )
        return path
    entry = entry_of(name)
    if not is_installed(entry):
        raise InputError(
            f"{entry.name} needs {place_of(entry)}, which is not installed; get it: moonseg3r weights get {entry.name}"
        )
    return place_of(entry)


def hash_of(file: Path) -> str:
    """The sha256 of a file; an installed one that has its size and time of change since is not read for it.

    Raises InputError for an installed file that is not what was installed, or one that cannot be read.
    """
    record = record_of(file)
    if record and _is_untouched(file, record):
        return record.sha256
    return check(file)


def check(file: Path) -> str:
    """The sha256 of a file, counted from all of it. Raises InputError where it is not the recorded one."""
    record, found = record_of(file), sha256_of(file)
    if record and record.sha256 != found:
        raise InputError(
            f"{file} must have the sha256 {record.sha256} as when it was installed, got {found}; remove the folder "
            f"{file.parent} and get it again: moonseg3r weights get {record.name}"
        )
    return found


def sha256_of(file: Path) -> str:
    """The sha256 of all of a file, in hexadecimal. Raises InputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}; give a file of weights.") from error
    return digest.hexdigest()


def write_record(record: Record, folder: Path) -> None:
    """Put a record beside its file, on the disk itself."""
    with (folder / RECORD).open("w") as opened:
        opened.write(json.dumps(asdict(record), indent=1))
        opened.flush()
        os.fsync(opened.fileno())


def _is_untouched(file: Path, record: Record) -> bool:
    facts = file.stat()
    return (facts.st_size, facts.st_mtime_ns) == (record.size, record.modified_ns)
