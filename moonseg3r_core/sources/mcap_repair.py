"""A cut MCAP file seen as a whole one: its intact records, then an index of them made here. Nothing is written.

A recorder that was killed leaves no summary and often half a record; rosbags reads files with an ending only.
Record layout: mcap.dev/spec.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x89MCAP0\r\n"
HEADER = struct.Struct("<BQ")  # opcode, length
FOOTER, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 0x02, 0x06, 0x07, 0x08, 0x0B, 0x0F


@dataclass
class Chunk:
    """Where a chunk lies and what its own head says of it."""

    offset: int
    length: int
    start: int
    end: int
    size: int
    compression: bytes
    compressed_size: int
    indexes: dict[int, int] = field(default_factory=dict)  # channel -> offset of its message index
    indexes_end: int = 0

    def record(self) -> bytes:
        """This chunk's entry in the summary."""
        offsets = b"".join(struct.pack("<HQ", channel, offset) for channel, offset in self.indexes.items())
        body = struct.pack("<QQQQI", self.start, self.end, self.offset, self.length, len(offsets)) + offsets
        body += struct.pack("<QI", max(0, self.indexes_end - self.offset - self.length), len(self.compression))
        body += self.compression + struct.pack("<QQ", self.compressed_size, self.size)
        return HEADER.pack(CHUNK_INDEX, len(body)) + body


class CutMcap:
    """Stands for the path of a cut file where rosbags asks for a path."""

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def is_dir(self) -> bool:
        return False

    def __str__(self) -> str:
        return str(self.path)

    def open(self, *_: Any) -> BinaryIO:
        """The intact records and the ending, as one file."""
        file = self.path.open("rb")
        chunks, end = scan(file, self.path.stat().st_size)
        return io.BufferedReader(Joined(file, end, ending(chunks, end)))


def scan(file: BinaryIO, size: int) -> tuple[list[Chunk], int]:
    """The chunks and the end of the last intact record of the data section."""
    chunks: list[Chunk] = []
    end = len(MAGIC)
    for opcode, offset, length in records(file, size):
        if opcode == CHUNK:
            chunks.append(_read_chunk(file, offset, length))
        elif opcode == MESSAGE_INDEX and chunks:
            (channel,) = struct.unpack("<H", file.read(2))
            chunks[-1].indexes[channel] = offset
            chunks[-1].indexes_end = offset + length
        end = offset + length
    return [chunk for chunk in chunks if chunk.indexes], end


def records(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """(opcode, offset, whole length) of each intact record of the data section; the file stands at its body."""
    offset = len(MAGIC)
    while offset + HEADER.size <= size:
        file.seek(offset)
        opcode, body = HEADER.unpack(file.read(HEADER.size))
        length = HEADER.size + body
        if opcode in (0, FOOTER, DATA_END) or offset + length > size:
            return
        yield opcode, offset, length
        offset += length


def ending(chunks: list[Chunk], end: int) -> bytes:
    """The summary of these chunks and the footer; without chunks the footer alone, which asks for a scan."""
    summary = b"".join(chunk.record() for chunk in chunks)
    if chunks:
        first, last = min(chunk.start for chunk in chunks), max(chunk.end for chunk in chunks)
        body = struct.pack("<QHIIIIQQI", 0, 0, 0, 0, 0, len(chunks), first, last, 0)
        summary += HEADER.pack(STATISTICS, len(body)) + body
    footer = HEADER.pack(FOOTER, 20) + struct.pack("<QQI", end if chunks else 0, 0, 0)
    return summary + footer + MAGIC


class Joined(io.RawIOBase):
    """The first `end` bytes of a file followed by `tail`."""

    def __init__(self, file: BinaryIO, end: int, tail: bytes) -> None:
        self.file, self.end, self.tail = file, end, tail
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.end + len(self.tail)}[whence]
        self.at = base + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        if self.at < self.end:
            self.file.seek(self.at)
            data = self.file.read(min(len(buffer), self.end - self.at))
        else:
            data = self.tail[self.at - self.end :][: len(buffer)]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def _read_chunk(file: BinaryIO, offset: int, length: int) -> Chunk:
    start, end, size, _, name_length = struct.unpack("<QQQII", file.read(32))
    compression = file.read(name_length)
    (compressed_size,) = struct.unpack("<Q", file.read(8))
    return Chunk(offset, length, start, end, size, compression, compressed_size)
