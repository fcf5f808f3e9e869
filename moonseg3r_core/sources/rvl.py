"""Decodes RVL, the lossless code of depth images by A. D. Wilson (Fast lossless depth image compression, ISS 2017).

The stream is a series of numbers in nibbles of three bits, the lowest first; the fourth bit says that more follow. Eight
nibbles make a word of 32 bits, the first in its highest bits. The numbers are, again and again: how many pixels have no
depth, how many then have one, and the difference of each of these from the one before, as 2 d or -2 d - 1.
"""

from __future__ import annotations

import numpy as np

from moonseg3r_core.errors import FrameRejected

MAX_NIBBLES = 11  # of a number of 32 bits


def decode_rvl(data: bytes, count: int) -> np.ndarray:
    """Decode `count` pixels (count,) uint16, 0 without depth. Raises FrameRejected for a stream that is cut or damaged."""
    numbers = _read_numbers(data)
    headers = _find_runs(numbers, count)
    zeros, lengths = numbers[headers], numbers[headers + 1]
    differences = np.ones(len(numbers), dtype=bool)
    differences[headers] = differences[headers + 1] = False
    coded = numbers[differences][: int(lengths.sum())]
    depths = np.cumsum((coded >> 1) ^ -(coded & 1))
    pixels = np.zeros(count, dtype=np.uint16)
    pixels[np.arange(len(depths)) + np.repeat(np.cumsum(zeros), lengths)] = depths.astype(np.uint16)
    return pixels


def _read_numbers(data: bytes) -> np.ndarray:
    """Read all numbers (N,) int64 of the stream, and the zeros that fill its last word."""
    pairs = np.frombuffer(data, dtype="<u4", count=len(data) // 4).astype(">u4").view(np.uint8)
    nibbles = np.stack((pairs >> 4, pairs & 15), axis=1).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        raise _reject("it holds no number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > MAX_NIBBLES:
        raise _reject("a number has more than 32 bits")
    bits = nibbles & 7
    numbers = bits[starts].astype(np.int64)
    for place in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > place)
        numbers[longer] |= bits[starts[longer] + place].astype(np.int64) << 3 * place
    return numbers


def _find_runs(numbers: np.ndarray, count: int) -> np.ndarray:
    """Find where the runs begin, up to the last pixel."""
    values, at, pixels, found = numbers.tolist(), 0, 0, []
    while pixels < count:
        if at + 1 >= len(values) or at + 1 + values[at + 1] >= len(values):
            raise _reject(f"it ends after {pixels} of {count} pixels")
        found.append(at)
        pixels += values[at] + values[at + 1]
        at += 2 + values[at + 1]
    if pixels > count:
        raise _reject(f"it holds more than {count} pixels")
    return np.array(found, dtype=np.int64)


def _reject(fault: str) -> FrameRejected:
    return FrameRejected("damaged depth", f"the RVL stream is cut or damaged: {fault}")
