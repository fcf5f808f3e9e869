"""A file that torch.save wrote, read without running what stands in it, its tensors mapped instead of read."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.inert_pickle import Storage, Stored, read_inert

_HEADER = 30  # bytes before an entry's name; the lengths of its name and extra field are the last four
_CHUNK = 1 << 20
_LONGEST = 2**48


@dataclass(frozen=True)
class Place:
    """Where a storage lies: its entry in the archive, its first byte in the file, and how many there are."""

    entry: str
    start: int
    length: int


@dataclass(frozen=True)
class TorchFile:
    """What was saved (`content`, tensors in it as `Stored`), and where the storages lie, by their key."""

    path: Path
    content: Any
    places: Mapping[str, Place]

    def tensors(self, stored: Mapping[str, Stored]) -> dict[str, Tensor]:
        """These tensors. Their numbers stay in the file until they are used; writing into them leaves the file alone.

        Raises InputError for one that does not fit what the file holds.
        """
        if not stored:
            return {}
        spans = {name: self._span(name, tensor) for name, tensor in stored.items()}
        first = min(span.start for span in spans.values())
        first -= first % mmap.ALLOCATIONGRANULARITY
        end = max(span.stop for span in spans.values())
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), end - first, access=mmap.ACCESS_COPY, offset=first)
        return {name: _view(mapped, spans[name].start - first, tensor) for name, tensor in stored.items()}

    def verify(self, stored: Mapping[str, Stored]) -> None:
        """Compare these tensors' bytes with their checksums. Raises InputError where one differs."""
        with zipfile.ZipFile(self.path) as archive:
            for name, tensor in stored.items():
                self._span(name, tensor)
                try:
                    with archive.open(self.places[tensor.storage.key].entry) as entry:
                        while entry.read(_CHUNK):
                            pass
                except Exception as error:  # what damaged bytes make of their readers can be any
                    raise _damaged(self.path, f"other numbers in {name} than were written") from error

    def _span(self, name: str, tensor: Stored) -> range:
        """The bytes of a tensor in the file. What the pickle says of it is not trusted."""
        size, stride, offset = tensor.size, tensor.stride, tensor.offset
        if not isinstance(tensor.storage, Storage) or tensor.storage.dtype is None:
            raise _damaged(self.path, f"{name} in numbers of an unknown kind")
        if not (_are_counts(size, stride, (offset,)) and len(size) == len(stride) and all(size)):
            raise _damaged(self.path, f"{name} without a sound shape")
        key, width = tensor.storage.key, tensor.storage.dtype.itemsize
        place = self.places.get(key) if isinstance(key, str) else None
        end = (offset + _extent(size, stride)) * width
        if place is None or end > place.length or place.start % width:
            raise _damaged(self.path, f"{name} without its numbers")
        return range(place.start + offset * width, place.start + end)


def open_torch_file(path: str | Path) -> TorchFile:
    """Read all but the tensors' numbers from a file of torch.save (torch 1.6 and later).

    Raises InputError for a file that is missing, of another kind, or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; give a file that torch.save wrote."
        ) from error
    except zipfile.BadZipFile as error:
        raise _damaged(path, _looks(path)) from error
    except Exception as error:  # any, as above
        raise _damaged(path, str(error)) from error


def _read(path: Path, file: IO[bytes]) -> TorchFile:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if any(info.header_offset < 0 for info in entries.values()):
            raise ValueError("the end of one")
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("another archive")
        root = roots[0]
        if root + "byteorder" in entries and archive.read(root + "byteorder") != b"little":
            raise ValueError("numbers in the byte order of another machine")
        content = read_inert(archive.read(root + "data.pkl"))
    data = root + "data/"
    return TorchFile(
        path, content, {n.removeprefix(data): _place(file, i) for n, i in entries.items() if n.startswith(data)}
    )


def _place(file: IO[bytes], info: zipfile.ZipInfo) -> Place:
    """An entry's bytes begin behind its name and extra field, whose lengths only the header before them tells."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("a compressed archive")
    file.seek(info.header_offset)
    header = file.read(_HEADER)
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + _HEADER + lengths
    if start + info.file_size > file.seek(0, 2):
        raise ValueError("the beginning of one")
    return Place(info.filename, start, info.file_size)


def _are_counts(*several: Any) -> bool:
    return all(
        isinstance(values, tuple) and all(type(value) is int and 0 <= value < _LONGEST for value in values)
        for values in several
    )


def _extent(size: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many numbers lie from a tensor's first to its last."""
    return 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))


def _view(mapped: mmap.mmap, start: int, tensor: Stored) -> Tensor:
    count = _extent(tensor.size, tensor.stride)
    run = torch.frombuffer(mapped, dtype=tensor.storage.dtype, count=count, offset=start)
    return run.as_strided(tensor.size, tensor.stride)


def _looks(path: Path) -> str:
    """What a file that is no archive looks like."""
    with path.open("rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html")):
        return "a web page, as a server sends instead of a file"
    return "the beginning of one, or a damaged one" if begin.startswith(b"pk\3\4") else "a file of another kind"


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"{path} must be a whole file of torch.save, got {found.rstrip('.')}; download or copy it again.")
