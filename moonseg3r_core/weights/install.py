"""Bringing weights into the store: all of them with their record, or nothing."""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.weights.content import check_content
from moonseg3r_core.weights.download import download
from moonseg3r_core.weights.entry import Entry
from moonseg3r_core.weights.publishers import Got, by_hand
from moonseg3r_core.weights.store import (
    Kept,
    Record,
    folder_of,
    place_of,
    record_of,
    sha256_of,
    store_folder,
    write_record,
)


def install(entry: Entry, source: Path | None = None) -> Path:
    """Download an entry's published files, or take them from `source` (a file, or a folder of them), and keep them, or
    what their conversion makes; where they are kept.

    Raises InputError for a file that is not the published one or the one got first, or that is not whole, OutputError
    where the store cannot be written. Then, as when the process is killed, the store is what it was; of a download that
    was cut off, what came is kept outside of what looks installed.
    """
    downloads = store_folder() / f".{entry.name}.download"
    try:
        with _alone(store_folder()), _workshop(store_folder() / f".{entry.name}.part") as workshop:
            if source:
                made = _make(entry, _given(entry, source), workshop / entry.name, _copy)
            else:
                made = _make_of_downloads(entry, downloads, workshop / entry.name)
            _exchange(made, folder_of(entry))
            shutil.rmtree(downloads, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {store_folder()}: {error.strerror or error}; free some room or set MOONSEG3R_WEIGHTS to another folder."
        ) from error
    return place_of(entry)


def _given(entry: Entry, source: Path) -> list[Got]:
    """The published files where a user has them. Raises InputError where one is lacking."""
    names = entry.source.names
    places = [source / name for name in names] if source.is_dir() or len(names) > 1 else [source]
    for place in places:
        if not place.is_file():
            raise InputError(
                f"{entry.name} expects {', '.join(names)}, cannot read {place}: no such file; {by_hand(entry)}"
            )
    return [Got(place, str(place), getattr(entry.source, "sha256", "")) for place in places]


def _make_of_downloads(entry: Entry, downloads: Path, folder: Path) -> Path:
    """As `_make`. What was downloaded and will not do is removed, so that the next attempt begins anew."""
    got = download(entry, downloads)
    try:
        return _make(entry, got, folder, os.replace)
    except OutputError:
        raise
    except InputError:
        shutil.rmtree(downloads, ignore_errors=True)
        raise


def _make(entry: Entry, got: Sequence[Got], folder: Path, put: Callable[[Path, Path], object]) -> Path:
    """The folder of an entry, with its files and their record in it."""
    hashes = [sha256_of(file.path) for file in got]
    for file, name, found in zip(got, entry.files, hashes, strict=True):
        _check_source(entry, file, name, found)
    folder.mkdir()
    if entry.convert:
        module, _, name = entry.convert.partition(":")
        getattr(importlib.import_module(module), name)(got[0].path, folder / entry.files[0], entry.name)
    else:
        for file, name in zip(got, entry.files, strict=True):
            check_content(file.path, name)
            put(file.path, folder / name)
    files = [_kept(folder / name, of, sha) for name, of, sha in zip(entry.files, got, hashes, strict=True)]
    write_record(Record(entry.name, str(entry.licence), tuple(files)), folder)
    return folder


def _kept(file: Path, source: Got, source_sha256: str) -> Kept:
    facts = file.stat()
    return Kept(file.name, facts.st_size, facts.st_mtime_ns, sha256_of(file), source.address, source_sha256)


def _copy(source: Path, target: Path) -> None:
    with write_atomically(target) as part:
        shutil.copyfile(source, part)


def _check_source(entry: Entry, file: Got, name: str, found: str) -> None:
    """Raises InputError unless a file is the published one, where its hash is known, and the one got before, if any."""
    if file.sha256 not in ("", found):
        _refuse(entry, file, [file.sha256], "published", found)
    record = record_of(folder_of(entry))
    before = [kept for kept in record.files if kept.name == name] if record else []
    known = {sha for kept in before for sha in (kept.source_sha256, kept.sha256)}
    if known and found not in known:
        reason = f"first got (if it was replaced on purpose, remove {folder_of(entry)})"
        _refuse(entry, file, sorted(known), reason, found)


def _refuse(entry: Entry, file: Got, known: Sequence[str], reason: str, found: str) -> None:
    raise InputError(
        f"{file.path} must have the sha256 {' or '.join(known)} as {reason}, got {found}; {by_hand(entry)}"
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
