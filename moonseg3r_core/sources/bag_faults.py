"""What is wrong with a bag, in words of our own: the libraries' errors name their internals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SUFFIXES = (".mcap", ".db3")
MAGIC = {".mcap": b"\x89MCAP0\r\n", ".db3": b"SQLite format 3\x00"}
NAMES = {".mcap": "MCAP file", ".db3": "SQLite database"}
STORAGES = ("mcap", "sqlite3")
NEWEST_VERSION = 9  # of metadata.yaml
MAX_LISTED = 5
PAGE_SIZE, PAGE_COUNT = slice(16, 18), slice(28, 32)  # in the header of an SQLite database


def describe_fault(path: Path) -> str:
    """Say what is wrong with a bag folder or a storage file that could not be read to its end."""
    if path.is_file():
        return _describe_file(path)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    faults = [fault for file in files if (fault := _find_fault(file))]
    return _find_metadata_fault(path) or next(iter(faults), "a part of its files is damaged")


def _describe_file(file: Path) -> str:
    return _find_fault(file) or f"a part of {file.name} is damaged"


def _find_fault(file: Path) -> str:
    """Say what is wrong with the beginning or the end of a storage file; empty where both are right."""
    magic = MAGIC.get(file.suffix, b"")
    try:
        with file.open("rb") as stream:
            size, head = file.stat().st_size, stream.read(100)
            stream.seek(max(0, size - 8))
            tail = stream.read()
    except OSError as error:
        return f"{file.name} cannot be opened: {error.strerror}"
    if not size:
        return f"{file.name} is empty"
    if not head.startswith(magic):
        return f"{file.name} is no {NAMES.get(file.suffix, 'bag')}"
    ends_early = tail != magic if file.suffix == ".mcap" else size < _read_database_size(head)
    return f"{file.name} ends early: its recorder was stopped, or it was not copied whole" if ends_early else ""


def is_whole(file: Path) -> bool:
    """True when a storage file begins and ends as one does."""
    return not _find_fault(file)


def _read_database_size(head: bytes) -> int:
    page = int.from_bytes(head[PAGE_SIZE], "big")
    return (65536 if page == 1 else page) * int.from_bytes(head[PAGE_COUNT], "big")


def _find_metadata_fault(folder: Path) -> str:
    """Say what is wrong with metadata.yaml; empty where nothing is."""
    try:
        loaded: Any = yaml.safe_load((folder / "metadata.yaml").read_text())
    except OSError as error:
        return f"metadata.yaml cannot be opened: {error.strerror}"
    except (yaml.YAMLError, UnicodeDecodeError):
        return "metadata.yaml is no YAML"
    known = loaded.get("rosbag2_bagfile_information") if isinstance(loaded, dict) else None
    if not isinstance(known, dict):
        return "metadata.yaml holds no rosbag2_bagfile_information"
    return _find_content_fault(folder, known)


def _find_content_fault(folder: Path, metadata: dict[str, Any]) -> str:
    version, storage = metadata.get("version"), metadata.get("storage_identifier")
    if not isinstance(version, int) or version > NEWEST_VERSION:
        return f"metadata.yaml must be of version {NEWEST_VERSION} or older, got {version}"
    if storage not in STORAGES:
        return f"metadata.yaml must name the storage {' or '.join(STORAGES)}, got {storage}"
    names = [Path(str(name)).name for name in metadata.get("relative_file_paths") or []]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        return f"metadata.yaml names files that are not there: {', '.join(missing[:MAX_LISTED])}"
    if (
        metadata.get("compression_mode", "").lower() not in ("", "none")
        and metadata.get("compression_format") != "zstd"
    ):
        return f"metadata.yaml must name the compression zstd, got {metadata.get('compression_format')}"
    return ""
