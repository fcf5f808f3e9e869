"""Writes a file beside its place and moves it there when it is whole; failures become errors of one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moonseg3r_core.errors import OutputError


@contextmanager
def explain_write_errors(
    what: object, advice: str = "choose a folder that can be written", *further: type[Exception]
) -> Iterator[None]:
    """Raise OutputError with what could not be written, the reason and the advice, in place of OSError and `further`."""
    failures: tuple[type[Exception], ...] = (OSError, *further)
    try:
        yield
    except failures as error:
        raise OutputError(f"cannot write {what}: {getattr(error, 'strerror', None) or error}; {advice}.") from error


@contextmanager
def write_atomically(path: Path, mark: object = "", sync: bool = True) -> Iterator[Path]:
    """Give a temporary path that replaces `path` when the block ends well, and is removed when it fails.

    The next writer overwrites what a killed process left. Concurrent writers of one file each give their own `mark`.
    `sync`: the new file outlives a power failure, at the price of waiting for the disk. Raises OSError.
    """
    part = path.with_name(f".{path.name}{mark}.part")
    try:
        yield part
        if sync:
            _sync(part)
        os.replace(part, path)
        if sync:
            _sync(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Write a file's content, or a folder's names, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
