"""RVL: what a plain encoder of the published algorithm writes is read back bit by bit."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.encodings import decode_compressed_depth
from moonseg3r_core.sources.rvl import decode_rvl

HEADER = struct.pack("<iff", 0, 0.0, 0.0)


def encode(depth: np.ndarray) -> bytes:
    """Encode uint16 pixels one by one, as the paper's listing does."""
    nibbles: list[int] = []

    def put(value: int) -> None:
        while value >> 3:
            nibbles.append(value & 7 | 8)
            value >>= 3
        nibbles.append(value)

    pixels, at, previous = [int(value) for value in depth.ravel()], 0, 0
    while at < len(pixels):
        for is_run in (lambda value: value == 0, lambda value: value != 0):
            start = at
            while at < len(pixels) and is_run(pixels[at]):
                at += 1
            put(at - start)
        for value in pixels[start:at]:
            difference = value - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        sum(nibble << 28 - 4 * i for i, nibble in enumerate(nibbles[n : n + 8])) for n in range(0, len(nibbles), 8)
    ]
    return struct.pack(f"<{len(words)}I", *words)


def pack(depth: np.ndarray, format: str = "16UC1; compressedDepth rvl", header: bytes = HEADER) -> tuple[bytes, str]:
    return header + struct.pack("<II", depth.shape[1], depth.shape[0]) + encode(depth), format


RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 65536, (12, 17)).astype(np.uint16)
IMAGES = {
    "a ramp": np.arange(1000, 1000 + 6 * 9, dtype=np.uint16).reshape(6, 9),
    "one value": np.full((5, 5), 700, np.uint16),
    "no depth at all": np.zeros((7, 3), np.uint16),
    "noise": NOISE,
    "holes": np.where(RNG.random((12, 17)) < 0.4, 0, NOISE),
    "extremes": np.array([[0, 65535, 1, 0], [65535, 0, 0, 1]], np.uint16),
    "a hole at the end": np.array([[5, 6, 0]], np.uint16),
}


@pytest.mark.parametrize("name", IMAGES)
def test_what_was_encoded_is_read_back(name):
    depth = IMAGES[name]
    assert np.array_equal(decode_rvl(encode(depth), depth.size).reshape(depth.shape), depth)
    assert np.array_equal(decode_compressed_depth(*pack(depth)), depth.astype(np.float32) / np.float32(1000))


def test_a_stream_by_hand():
    """Two holes, then 9 and 7: the numbers 2, 2, 18 (nibbles 2|8, 2) and 3; the rest of the word is padding."""
    word = int("22A23000", 16)
    assert decode_rvl(struct.pack("<I", word), 4).tolist() == [0, 0, 9, 7]


def test_inverse_depth_of_floats():
    header = struct.pack("<iff", 0, 100.0, -2.0)
    found = decode_compressed_depth(*pack(np.array([[48, 0]], np.uint16), "32FC1; compressedDepth rvl", header))
    assert found.tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize(
    ("data", "count", "fault"),
    [
        (encode(NOISE)[:-8], NOISE.size, "ends after"),
        (encode(NOISE), NOISE.size + 1, "ends after"),
        (encode(NOISE), NOISE.size - 1, "more than"),
        (b"\xff" * 400, 10, "no number"),
        (b"\xff" * 8 + b"\x00" * 8, 10, "more than 32 bits"),
        (b"", 4, "no number"),
    ],
)
def test_a_damaged_stream_is_refused(data, count, fault):
    with pytest.raises(FrameRejected, match=fault):
        decode_rvl(data, count)


def test_a_size_that_no_camera_has_is_refused_before_memory_is_taken():
    with pytest.raises(FrameRejected, match="too large"):
        decode_compressed_depth(HEADER + struct.pack("<II", 2**31, 2**31) + bytes(8), "16UC1; compressedDepth rvl")


def test_random_bytes_are_refused_or_read():
    rng = np.random.default_rng(1)
    for size in range(1, 200):
        with suppress(FrameRejected):
            assert decode_rvl(rng.bytes(size), 64).shape == (64,)
