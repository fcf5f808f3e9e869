"""Read images, depth maps and matrices from files. A file that cannot be read raises FrameRejected."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.io.images import decode_file
from moonseg3r_core.sources.encodings import convert_to_metres, decode_compressed_image
from moonseg3r_core.sources.names import make_natural_key

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def list_images(folder: Path) -> list[Path]:
    """List the images of a folder in natural order, without hidden files."""
    found = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    return sorted(found, key=lambda f: make_natural_key(f.name))


def read_image(path: Path) -> Tensor:
    """Read (H, W, 3) uint8 RGB. Raises FrameRejected for a file that is missing, truncated or no image."""
    try:
        return torch.from_numpy(decode_compressed_image(path.read_bytes()))
    except (OSError, FrameRejected) as error:
        raise FrameRejected("unreadable image", f"{path.name}, {error}") from error


def read_depth(path: Path, scale: float = 0.0, no_depth: int | None = None) -> Tensor:
    """Read (H, W) float32 metres from an image of 16 bits or floats, or a .npy file, of `scale` units in a metre.

    A scale of 0 stands for millimetres, and for metres where the file holds floats; `no_depth` is a value that means
    none, as 0 does. Raises FrameRejected as `read_image` does.
    """
    try:
        pixels = _decode_depth(path)
    except (OSError, ValueError, FrameRejected) as error:
        raise FrameRejected("unreadable depth", f"{path.name}, {error}") from error
    if no_depth is not None:
        pixels = np.where(pixels == no_depth, 0, pixels)
    return torch.from_numpy(convert_to_metres(pixels, scale))


def _decode_depth(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        pixels = np.load(path, allow_pickle=False)
    else:
        pixels = decode_file(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint16, np.float32, np.float64, np.float16):
        raise FrameRejected(
            "unusable depth",
            f"depth must be one channel of 16 bits or of floats, got {pixels.dtype} of shape {pixels.shape}",
        )
    return pixels


def is_depth_file(path: Path) -> bool:
    """Whether an image file has one channel of more than 8 bits, which a photograph has not; reads its header alone."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x89PNG"):
        return head[24:26] == b"\x10\x00"  # bit depth 16, gray
    if head.startswith(b"P5"):
        numbers = re.sub(rb"#[^\n]*", b"", head[2:]).split()
        return len(numbers) > 2 and numbers[2].isdigit() and int(numbers[2]) > 255
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with Image.open(path) as image:
            return image.mode.startswith(("I", "F"))
    except Exception:  # damaged bytes make Pillow raise anything
        return False


def read_matrix(path: Path) -> np.ndarray:
    """Read (4, 4) float64 from a text file; NaN and infinite values pass. Raises FrameRejected for anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file; its shape is checked below
            matrix = np.loadtxt(path, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise FrameRejected("unreadable pose", f"{path.name}, {' '.join(str(error).split())}") from error
    if matrix.shape != (4, 4):
        raise FrameRejected("unreadable pose", f"{path.name} must hold 4 rows of 4 numbers, got shape {matrix.shape}")
    return matrix
