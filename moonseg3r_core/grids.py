"""Between the pixels of an image and those of a geometry, which may have been resized and cropped."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.types import Geometry


def to_grid(image: Tensor, geometry: Geometry) -> Tensor:
    """An image (H, W) sampled at the pixels of the geometry's grid, nearest."""
    grid = geometry.grid
    if grid.is_image((image.shape[0], image.shape[1])):
        return image
    u = (torch.arange(grid.width, device=image.device) * grid.scale_u + grid.offset_u).round().long()
    v = (torch.arange(grid.height, device=image.device) * grid.scale_v + grid.offset_v).round().long()
    return image[v.clamp(0, image.shape[0] - 1)[:, None], u.clamp(0, image.shape[1] - 1)[None, :]]


def to_image(labels: Tensor, geometry: Geometry, size: tuple[int, int]) -> Tensor:
    """Labels on the geometry's grid brought back to an image of `size` (H, W); 0 outside of the grid."""
    grid = geometry.grid
    if grid.is_image(size):
        return labels
    u = ((torch.arange(size[1], device=labels.device) - grid.offset_u) / grid.scale_u).round().long()
    v = ((torch.arange(size[0], device=labels.device) - grid.offset_v) / grid.scale_v).round().long()
    inside = ((v >= 0) & (v < grid.height))[:, None] & ((u >= 0) & (u < grid.width))[None, :]
    picked = labels[v.clamp(0, grid.height - 1)[:, None], u.clamp(0, grid.width - 1)[None, :]]
    return torch.where(inside, picked, 0)
