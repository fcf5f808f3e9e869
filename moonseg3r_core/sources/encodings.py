"""Decode ROS images: raw and compressed encodings to RGB uint8, depth to float32 metres. Pure functions.

Encoding names: sensor_msgs/image_encodings.hpp. What cannot be decoded raises FrameRejected.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.io.images import check_size, decode_file
from moonseg3r_core.sources.rvl import decode_rvl

Bytes = bytes | bytearray | memoryview | np.ndarray

HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, quantisation a and b
SIZE = struct.Struct("<II")  # before RVL: width, height


@dataclass(frozen=True)
class Layout:
    """The memory layout of an encoding: samples per pixel, bytes per sample, OpenCV's conversion to RGB or None."""

    channels: int
    depth: int
    conversion: int | None


LAYOUTS = {
    "rgb8": Layout(3, 1, None), "bgr8": Layout(3, 1, cv2.COLOR_BGR2RGB), "8uc3": Layout(3, 1, cv2.COLOR_BGR2RGB),
    "rgba8": Layout(4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": Layout(4, 1, cv2.COLOR_BGRA2RGB), "8uc4": Layout(4, 1, cv2.COLOR_BGRA2RGB),
    "rgb16": Layout(3, 2, None), "bgr16": Layout(3, 2, cv2.COLOR_BGR2RGB), "mono8": Layout(1, 1, cv2.COLOR_GRAY2RGB),
    "8uc1": Layout(1, 1, cv2.COLOR_GRAY2RGB), "mono16": Layout(1, 2, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": Layout(1, 1, cv2.COLOR_BayerRGGB2RGB), "bayer_bggr8": Layout(1, 1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": Layout(1, 1, cv2.COLOR_BayerGBRG2RGB), "bayer_grbg8": Layout(1, 1, cv2.COLOR_BayerGRBG2RGB),
    "bayer_rggb16": Layout(1, 2, cv2.COLOR_BayerRGGB2RGB), "bayer_bggr16": Layout(1, 2, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg16": Layout(1, 2, cv2.COLOR_BayerGBRG2RGB), "bayer_grbg16": Layout(1, 2, cv2.COLOR_BayerGRBG2RGB),
    "yuv422": Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY), "uyvy": Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": Layout(2, 1, cv2.COLOR_YUV2RGB_YUY2), "yuyv": Layout(2, 1, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": Layout(1, 1, cv2.COLOR_YUV2RGB_NV12), "nv21": Layout(1, 1, cv2.COLOR_YUV2RGB_NV21),
}  # fmt: skip
PLANAR = ("nv12", "nv21")  # the chroma planes add half as many rows
DEPTHS: dict[str, np.dtype] = {"16uc1": np.dtype("u2"), "mono16": np.dtype("u2"), "32fc1": np.dtype("f4")}


def decode_image(data: Bytes, height: int, width: int, encoding: str, step: int, is_bigendian: bool) -> np.ndarray:
    """Decode a sensor_msgs/Image to (height, width, 3) uint8 RGB; of 16 bits the upper 8 are kept.

    `step` is the length of a row in bytes, padding included; 0 means no padding.
    Raises FrameRejected for an unknown encoding, too little data, or a size that the encoding cannot have.
    """
    name = encoding.strip().lower()
    layout = LAYOUTS.get(name)
    if layout is None:
        raise FrameRejected(f"unknown image encoding {encoding[:40]!r}", f"known are {', '.join(LAYOUTS)}")
    if (name in PLANAR or layout.channels == 2) and (width % 2 or (name in PLANAR and height % 2)):
        raise FrameRejected("image of odd size", f"{encoding} image must be of even size, got {width}x{height}")
    rows = height * 3 // 2 if name in PLANAR else height
    sample = np.dtype(f"{'>' if is_bigendian else '<'}u{layout.depth}")
    pixels = unpack(data, rows, width, layout.channels, sample, step)
    if layout.depth == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.array(pixels) if layout.conversion is None else cv2.cvtColor(pixels, layout.conversion)


def decode_depth(
    data: Bytes, height: int, width: int, encoding: str, step: int, is_bigendian: bool, scale: float = 0.0
) -> np.ndarray:
    """Decode a depth Image to (height, width) float32 metres: 16UC1 millimetres, 32FC1 metres (REP 118), or
    `scale` units in a metre where that is not 0.

    NaN, infinite and negative depths become 0, which means no depth. Raises FrameRejected as `decode_image` does.
    """
    sample = DEPTHS.get(encoding.strip().lower())
    if sample is None:
        raise FrameRejected(
            f"unknown depth encoding {encoding[:40]!r}", "known are 16UC1 (millimetres) and 32FC1 (metres)"
        )
    ordered = sample.newbyteorder(">" if is_bigendian else "<")
    return convert_to_metres(unpack(data, height, width, 1, ordered, step), scale)


def unpack(data: Bytes, rows: int, width: int, channels: int, sample: np.dtype, step: int) -> np.ndarray:
    """Convert bytes with padded rows to an array (rows, width[, channels]) in native byte order; a view if possible.

    Raises FrameRejected for too few bytes, before memory of the claimed size is allocated.
    """
    row = width * channels * sample.itemsize
    step = step or row
    flat = np.frombuffer(data, dtype=np.uint8)
    needed = step * (rows - 1) + row
    if rows < 1 or width < 1 or step < row or flat.size < needed:
        raise FrameRejected(
            "image data too short",
            f"{width}x{rows} with {row} bytes per row and step {step} needs {max(needed, 0)} bytes, got {flat.size}",
        )
    view = np.lib.stride_tricks.as_strided(flat, (rows, row), (step, 1), writeable=False)
    pixels = np.ascontiguousarray(view).view(sample).astype(sample.newbyteorder("="), copy=False)
    return pixels if channels == 1 else pixels.reshape(rows, width, channels)


def convert_to_metres(depth: np.ndarray, scale: float = 0.0) -> np.ndarray:
    """Convert depth of `scale` units in a metre to float32 metres; 0 means no depth.

    A scale of 0 stands for uint16 millimetres and float metres.
    """
    if depth.dtype == np.uint16:
        return depth.astype(np.float32) / np.float32(scale or 1000)
    metres = np.where((depth > 0) & (depth < np.inf), depth, 0).astype(np.float32, copy=False)
    return metres / np.float32(scale) if scale else metres


def decode_compressed_image(data: Bytes) -> np.ndarray:
    """Decode the bytes of a JPEG, PNG or other image file to (H, W, 3) uint8 RGB. Raises FrameRejected."""
    pixels = decode_file(bytes(data), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def decode_compressed_depth(data: Bytes, format: str, scale: float = 0.0) -> np.ndarray:
    """Decode compressed_depth, PNG or RVL behind a header of 12 bytes, or a bare 16-bit PNG, to (H, W) float32 metres.

    `format` begins with 16UC1 (millimetres) or 32FC1 (inverse depth a / (value - b), a and b in the header);
    `scale` as for `convert_to_metres`.
    Raises FrameRejected for a truncated stream and for other codecs (8-bit images).
    """
    raw = bytes(data)
    bare = raw.startswith(b"\x89PNG")
    pixels = _decode_depth_stream(raw if bare else raw[HEADER.size :], format)
    if not format.strip().lower().startswith("32fc1") or bare:
        return convert_to_metres(pixels, scale)
    _, a, b = HEADER.unpack_from(raw)
    with np.errstate(divide="ignore", invalid="ignore"):
        return convert_to_metres(
            np.where(pixels > 0, np.float32(a) / (pixels.astype(np.float32) - np.float32(b)), 0), scale
        )


def _decode_depth_stream(stream: bytes, format: str) -> np.ndarray:
    """Decode a PNG, or RVL behind its size, to (H, W) uint16."""
    if stream.startswith(b"\x89PNG"):
        pixels = decode_file(stream, cv2.IMREAD_UNCHANGED)
    elif "rvl" in format.lower() and len(stream) > SIZE.size:
        width, height = SIZE.unpack_from(stream)
        check_size(width, height)
        pixels = decode_rvl(stream[SIZE.size :], width * height).reshape(height, width)
    else:
        raise FrameRejected(
            f"compressed depth of format {format[:40]!r} holds neither PNG nor RVL",
            "record it with the codec png or rvl",
        )
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise FrameRejected(
            "unusable depth", f"depth must be one channel of 16 bits, got {pixels.dtype} of shape {pixels.shape}"
        )
    return pixels
