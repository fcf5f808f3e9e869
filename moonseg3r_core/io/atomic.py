"""A file is whole or not there: written beside its place, put onto the disk, then moved into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def write_atomically(path: Path, mark: object = "") -> Iterator[Path]:
    """A path to write to; when the block ends well, what is there takes the place of `path`, else it is removed.

    What a killed process left there is written over; those who may write one file at the same time give each a `mark`.
    Raises OSError where the disk does.
    """
    part = path.with_name(f".{path.name}{mark}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
