"""Installs weights into the store: all files of an entry with their record, or nothing."""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.weights.content import check_content
from moonseg3r_core.weights.download import download
from moonseg3r_core.weights.entry import Entry
from moonseg3r_core.weights.publishers import PublishedFile, describe_manual_way
from moonseg3r_core.weights.store import (
    InstalledFile,
    Record,
    compute_sha256,
    get_folder,
    get_place,
    get_store_folder,
    read_record,
    write_record,
)


def install(entry: Entry, source: Path | None = None) -> Path:
    """Download an entry's published files, or take them from `source` (a file or a folder), and store them or what
    their conversion makes. Returns where they are.

    Raises InputError for a file that is damaged or has another hash than the published or the first installed one,
    OutputError where the store cannot be written. The store stays as it was then, and when the process is killed.
    """
    store = get_store_folder()
    downloads, advice = store / f".{entry.name}.download", "free some room or set MOONSEG3R_WEIGHTS to another folder"
    with (
        explain_write_errors(store, advice),
        exclusive_lock(store),
        temporary_folder(store / f".{entry.name}.part") as folder,
    ):
        files = _find_files(entry, source) if source else download(entry, downloads)
        try:
            made = _make(entry, files, folder / entry.name, shutil.copyfile if source else os.replace)
        except InputError as error:
            if not source and not isinstance(error, OutputError):
                shutil.rmtree(downloads, ignore_errors=True)  # the next attempt begins anew
            raise
        place = get_folder(entry)
        if place.exists():  # between the two steps there is no folder, never a mixed one
            os.replace(place, made.with_name("former"))
        os.replace(made, place)
        shutil.rmtree(downloads, ignore_errors=True)
    return get_place(entry)


def _find_files(entry: Entry, source: Path) -> list[PublishedFile]:
    """Find the published files in a user's folder. Raises InputError where one is missing."""
    names = entry.source.names
    places = [source / name for name in names] if source.is_dir() or len(names) > 1 else [source]
    for place in places:
        if not place.is_file():
            raise InputError(
                f"{entry.name} expects {', '.join(names)}, cannot read {place}: no such file; {describe_manual_way(entry)}"
            )
    return [PublishedFile(place, str(place), getattr(entry.source, "sha256", "")) for place in places]


def _make(entry: Entry, files: Sequence[PublishedFile], folder: Path, put: Callable[[Path, Path], object]) -> Path:
    """Verify published files and fill an entry's folder with them, or their conversion, and their record."""
    hashes = [compute_sha256(file.path) for file in files]
    for file, name, published, found in zip(files, entry.files, entry.source.names, hashes, strict=True):
        _check_hash(entry, file, name, found)
        check_content(file.path, name if file.path.suffix == Path(name).suffix else published)
    folder.mkdir()
    if entry.convert:
        module, _, name = entry.convert.partition(":")
        getattr(importlib.import_module(module), name)(files[0].path, folder / entry.files[0], entry.name)
    else:
        for file, name in zip(files, entry.files, strict=True):
            put(file.path, folder / name)
    rows = zip(entry.files, files, hashes, strict=True)
    installed = tuple(_describe_file(folder / name, file, sha256) for name, file, sha256 in rows)
    write_record(Record(entry.name, str(entry.licence), installed), folder)
    return folder


def _describe_file(file: Path, source: PublishedFile, source_sha256: str) -> InstalledFile:
    facts, sha256 = file.stat(), compute_sha256(file)
    return InstalledFile(file.name, facts.st_size, facts.st_mtime_ns, sha256, source.address, source_sha256)


def _check_hash(entry: Entry, file: PublishedFile, name: str, found: str) -> None:
    """Raise InputError unless a file has the published hash, where it is known, and that of the one installed before."""
    if file.sha256 not in ("", found):
        _refuse(entry, file, [file.sha256], "published", found)
    record = read_record(get_folder(entry))
    before = [installed for installed in record.files if installed.name == name] if record else []
    known = {sha256 for installed in before for sha256 in (installed.source_sha256, installed.sha256)}
    if known and found not in known:
        reason = f"first got (if it was replaced on purpose, remove {get_folder(entry)})"
        _refuse(entry, file, sorted(known), reason, found)


def _refuse(entry: Entry, file: PublishedFile, known: Sequence[str], reason: str, found: str) -> None:
    raise InputError(
        f"{file.path} must have the sha256 {' or '.join(known)} as {reason}, got {found}; {describe_manual_way(entry)}"
    )


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from installing meanwhile. Raises InputError where one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another moonseg3r is getting weights into {folder}; wait for it.") from error
        yield


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder and remove it at the end; what a killed process left there goes too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
