"""An image file's bytes as pixels, held to what the file says of itself before anything is made of it."""

from __future__ import annotations

import io
import math
import warnings

import cv2
import numpy as np
from PIL import Image

from moonseg3r_core.errors import FrameRejected

MOST_PIXELS = 200_000_000  # the largest sensors of telephones; those of cameras that stream have fewer
_PIXELS_PER_BYTE = 512  # of a JPEG at most: a block of 8 x 8 pixels takes a bit or more
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG segments that tell the image's size
_ALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8"


def decode_file(raw: bytes, mode: int) -> np.ndarray:
    """The pixels of a JPEG, PNG or other image file as OpenCV decodes them in a mode (cv2.IMREAD_COLOR...).

    Raises FrameRejected for a file that is empty, truncated (a decoder may show its upper part), of no known kind, or
    of more than MOST_PIXELS pixels, which would take gigabytes.
    """
    if not raw:
        raise FrameRejected("no image", "it is empty")
    if is_cut(raw):
        raise FrameRejected("the image is truncated or damaged")
    check_size(*size_of(raw))
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), mode)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise FrameRejected("no image that OpenCV can decode")
    return pixels


def check_size(width: int, height: int) -> None:
    """Raises FrameRejected for more pixels than a camera has."""
    if width * height > MOST_PIXELS:
        raise FrameRejected(
            "the image is too large",
            f"an image must have at most {MOST_PIXELS} pixels, got {width} x {height} = {width * height}; make it smaller",
        )


def is_cut(raw: bytes) -> bool:
    """True for a PNG whose chunks do not lead to its end, a JPEG whose scan does not end, and one that claims more pixels
    than its bytes can hold: a decoder would make room for what is not there, gigabytes for a hundred bytes.
    """
    if raw.startswith(_PNG):
        return not _has_end(raw)
    if not raw.startswith(_JPEG):
        return False
    scan, size = _jpeg_head(raw)
    return raw.find(b"\xff\xd9", scan) < 0 or math.prod(size) > _PIXELS_PER_BYTE * len(raw)


def size_of(raw: bytes) -> tuple[int, int]:
    """(width, height) as the file's header tells. Raises FrameRejected for a file of no known kind."""
    if raw.startswith(_PNG):
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if raw.startswith(_JPEG):
        return _jpeg_head(raw)[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images: our own limit follows
            with Image.open(io.BytesIO(raw)) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise FrameRejected(
            "the image is too large", f"an image must have at most {MOST_PIXELS} pixels, got more: {error}"
        ) from error
    except Exception as error:  # what damaged bytes make of their readers can be any
        raise FrameRejected("no image of a known kind") from error


def _has_end(png: bytes) -> bool:
    at = 8
    while at + 12 <= len(png):
        name, at = png[at + 4 : at + 8], at + 12 + int.from_bytes(png[at : at + 4], "big")
        if name == b"IEND":
            return at <= len(png)
    return False


def _jpeg_head(jpeg: bytes) -> tuple[int, tuple[int, int]]:
    """Where the first scan begins, and (width, height) as told before; thumbnails lie within the segments passed."""
    at, size = 2, (0, 0)
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if kind in _FRAME_HEADERS:
            size = int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 1 if kind == 0xFF else 2 if kind in _ALONE else 2 + length
    return (at if jpeg[at : at + 2] == b"\xff\xda" else len(jpeg)), size
