"""Read images, depth maps and matrices from files. A file that cannot be read raises FrameRejected."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.encodings import decode_compressed_depth, decode_compressed_image
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


def read_depth(path: Path, scale: float = 0.0) -> Tensor:
    """Read (H, W) float32 metres from a uint16 PNG of `scale` units in a metre; 0: millimetres. Raises FrameRejected as `read_image` does."""
    try:
        return torch.from_numpy(decode_compressed_depth(path.read_bytes(), "16UC1; png", scale))
    except (OSError, FrameRejected) as error:
        raise FrameRejected("unreadable depth", f"{path.name}, {error}") from error


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
