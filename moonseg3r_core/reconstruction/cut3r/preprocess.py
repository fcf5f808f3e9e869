"""The input image of CUT3R: resized and cropped as by the published demo, with the grid's place in the image."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH
from moonseg3r_core.types import PixelGrid

_SQUARE = 224  # the one size that is the short side of a square crop


def fit_image(image: np.ndarray, image_size: int) -> tuple[Tensor, PixelGrid]:
    """Image (H, W, 3) uint8 RGB -> the net's input (1, 3, h, w) float32 in [-1, 1] on the CPU, and its grid.

    The long side (at 224 the short one) becomes `image_size`, by Lanczos when it shrinks and bicubic otherwise. The
    centre is cropped to multiples of 16 pixels; a square image to 4:3, at 224 any image to a square
    (docs/cut3r_facts.md, 2). Raises FrameRejected for an image without such a multiple.
    """
    height, width = image.shape[:2]
    resized = compute_resized_size(height, width, image_size)
    top, left, bottom, right = compute_crop_box(*resized, image_size)
    if top >= bottom or left >= right:
        raise FrameRejected(
            "the image is too small",
            f"it must keep at least {PATCH} x {PATCH} pixels when its sides become {resized[0]} x {resized[1]}, "
            f"got {height} x {width}; give a larger or a less narrow one.",
        )
    target = max(resized) if image_size == _SQUARE else image_size
    resampling = Image.Resampling.LANCZOS if max(height, width) > target else Image.Resampling.BICUBIC
    picture = Image.fromarray(image).resize((resized[1], resized[0]), resampling)
    crop = torch.from_numpy(np.array(picture.crop((left, top, right, bottom))))
    view = crop.permute(2, 0, 1)[None].float().contiguous().div(255).sub(0.5).div(0.5)
    return view, _make_grid(image.shape[:2], resized, (top, left, bottom, right))


def compute_resized_size(height: int, width: int, image_size: int) -> tuple[int, int]:
    """Compute (h, w) of the whole image after resizing."""
    long = max(height, width)
    if not min(height, width):
        return 0, 0
    target = round(_SQUARE * max(width / height, height / width)) if image_size == _SQUARE else image_size
    return round(height * target / long), round(width * target / long)


def compute_crop_box(height: int, width: int, image_size: int) -> tuple[int, int, int, int]:
    """Compute (top, left, bottom, right) of the centre crop, in pixels of the resized image."""
    row, column = height // 2, width // 2
    half_height, half_width = (2 * middle // PATCH * (PATCH // 2) for middle in (row, column))
    if image_size == _SQUARE:
        half_height = half_width = min(row, column)
    elif height == width:
        half_height = 3 * half_width // 4 // (PATCH // 2) * (PATCH // 2)
    return row - half_height, column - half_width, row + half_height, column + half_width


def _make_grid(size: tuple[int, ...], resized: tuple[int, int], box: tuple[int, int, int, int]) -> PixelGrid:
    """A resize keeps the outer edges of the image, half a pixel beyond the centres of the outermost pixels."""
    top, left, bottom, right = box
    scale_v, scale_u = size[0] / resized[0], size[1] / resized[1]
    offset_v, offset_u = ((first + 0.5) * s - 0.5 for first, s in ((top, scale_v), (left, scale_u)))
    return PixelGrid(bottom - top, right - left, scale_u, scale_v, offset_u, offset_v)
