"""Bringing weights into the store: all of them with their record, or nothing."""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.weights.catalog import Entry
from moonseg3r_core.weights.download import by_hand, download
from moonseg3r_core.weights.store import Record, place_of, record_of, sha256_of, store_folder, write_record


def install(entry: Entry, source: Path | None = None) -> Path:
    """Download an entry's published file, or take `source` for it, and keep what its conversion makes; the file kept.

    Raises InputError for a file that is not the published one or the one got first, or that the net cannot take,
    OutputError where the store cannot be written. Then, as when the process is killed, the store is what it was.
    """
    try:
        with _alone(store_folder()), _workshop(store_folder() / f".{entry.name}.part") as workshop:
            made = _make(entry, source or download(entry, workshop), workshop / entry.name)
            _exchange(made, place_of(entry).parent)
    except OSError as error:
        raise OutputError(
            f"cannot write {store_folder()}: {error.strerror or error}; free some room or set MOONSEG3R_WEIGHTS to another folder."
        ) from error
    return place_of(entry)


def _make(entry: Entry, source: Path, folder: Path) -> Path:
    """The folder of an entry, with the file and its record in it."""
    source_sha256 = sha256_of(source)
    _check_source(entry, source, source_sha256)
    folder.mkdir()
    file = folder / entry.file
    module, _, name = entry.convert.partition(":")
    getattr(importlib.import_module(module), name)(source, file, entry.name)
    facts = file.stat()
    record = Record(
        entry.name, file.name, facts.st_size, facts.st_mtime_ns, sha256_of(file),
        entry.source.name, source_sha256, str(entry.licence),
    )  # fmt: skip
    write_record(record, folder)
    return folder


def _check_source(entry: Entry, source: Path, found: str) -> None:
    """Raises InputError unless a file is the published one, or, where its hash is unknown, the one got before."""
    record = record_of(place_of(entry))
    known = {entry.sha256} if entry.sha256 else {record.source_sha256, record.sha256} if record else {found}
    if found not in known:
        reason = (
            "published"
            if entry.sha256
            else f"first got (if it was replaced on purpose, remove {place_of(entry).parent})"
        )
        raise InputError(
            f"{source} must have the sha256 {' or '.join(sorted(known))} as {reason}, got {found}; {by_hand(entry)}"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else installs meanwhile. Raises InputError where somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another moonseg3r is getting weights into {folder}; wait for it.") from error
        yield


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A new folder that is gone afterwards; what a killed process left there is too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(made: Path, place: Path) -> None:
    """Put a folder in its place. Between the two steps there is none, never a mixed one."""
    if place.exists():
        os.replace(place, made.with_name("former"))
    os.replace(made, place)
