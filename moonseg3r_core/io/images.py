"""Decodes image files; a truncated or impossible one is refused before memory is allocated for it."""

from __future__ import annotations

import io
import math
import warnings

import cv2
import numpy as np
from PIL import Image

from moonseg3r_core.errors import FrameRejected

MAX_PIXELS = 200_000_000  # the largest sensors of telephones; those of cameras that stream have fewer
_MAX_PIXELS_PER_BYTE = 512  # of a JPEG: a block of 8 x 8 pixels takes a bit or more
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG segments that hold the image's size
_WITHOUT_SEGMENT = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8"
_PALETTE = b"\x03"  # the color type in a PNG's header


class UnknownImage(FrameRejected):
    """The bytes are no image of a kind that can be read."""


def decode_file(raw: bytes, mode: int) -> np.ndarray:
    """Decode a JPEG, PNG or other image file with OpenCV in a mode (cv2.IMREAD_COLOR...).

    Raises FrameRejected for a file that is empty, truncated (a decoder may show its upper part), of no known kind, or
    of more than MAX_PIXELS pixels, which would take gigabytes.
    """
    if not raw:
        raise FrameRejected("no image", "it is empty")
    if is_truncated(raw):
        raise FrameRejected("the image is truncated or damaged")
    check_size(*read_size(raw))
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), mode)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise UnknownImage("no image that OpenCV can decode")
    return pixels


def decode_labels(raw: bytes) -> np.ndarray:
    """Decode a PNG of labels as it is stored, (H, W) or (H, W, C): of one with a palette the entries, not their colors.

    OpenCV gives the colors alone. Raises FrameRejected as `decode_file` does.
    """
    if not (raw.startswith(_PNG) and raw[25:26] == _PALETTE):
        return decode_file(raw, cv2.IMREAD_UNCHANGED)
    if is_truncated(raw):
        raise FrameRejected("the image is truncated or damaged")
    check_size(*read_size(raw))
    try:
        with Image.open(io.BytesIO(raw)) as image:
            return np.array(image)
    except Exception as error:  # damaged bytes make Pillow raise anything
        raise FrameRejected("no image that Pillow can decode") from error


def check_size(width: int, height: int) -> None:
    """Raise FrameRejected for more pixels than a camera has."""
    if width * height > MAX_PIXELS:
        raise FrameRejected(
            "the image is too large",
            f"an image must have at most {MAX_PIXELS} pixels, got {width} x {height} = {width * height}; make it smaller",
        )


def is_truncated(raw: bytes) -> bool:
    """Whether a PNG or JPEG has no end, or a JPEG claims more pixels than its bytes can hold.

    For the latter a decoder would allocate gigabytes for a hundred bytes.
    """
    if raw.startswith(_PNG):
        return not _has_end(raw)
    if not raw.startswith(_JPEG):
        return False
    scan, size = _read_jpeg_head(raw)
    return raw.find(b"\xff\xd9", scan) < 0 or math.prod(size) > _MAX_PIXELS_PER_BYTE * len(raw)


def read_size(raw: bytes) -> tuple[int, int]:
    """Read (width, height) from the file's header. Raises FrameRejected for a file of no known kind."""
    if raw.startswith(_PNG):
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if raw.startswith(_JPEG):
        return _read_jpeg_head(raw)[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images: check_size follows
            with Image.open(io.BytesIO(raw)) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise FrameRejected(
            "the image is too large", f"an image must have at most {MAX_PIXELS} pixels, got more; make it smaller"
        ) from error
    except Exception as error:  # damaged bytes make the readers raise anything
        raise UnknownImage("no image of a known kind") from error


def _has_end(png: bytes) -> bool:
    at = 8
    while at + 12 <= len(png):
        name, at = png[at + 4 : at + 8], at + 12 + int.from_bytes(png[at : at + 4], "big")
        if name == b"IEND":
            return at <= len(png)
    return False


def _read_jpeg_head(jpeg: bytes) -> tuple[int, tuple[int, int]]:
    """Read where the first scan begins, and (width, height) of the image, not of a thumbnail within a segment."""
    at, size = 2, (0, 0)
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if kind in _SIZE_SEGMENTS:
            size = int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 1 if kind == 0xFF else 2 if kind in _WITHOUT_SEGMENT else 2 + length
    return (at if jpeg[at : at + 2] == b"\xff\xda" else len(jpeg)), size
