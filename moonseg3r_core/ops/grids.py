"""Resampling between an image and a geometry's grid, which may be resized and cropped."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from moonseg3r_core.types import FeatureMap, Geometry


def resample_to_grid(image: Tensor, geometry: Geometry) -> Tensor:
    """Resample an image (H, W) at the pixels of the geometry's grid, nearest."""
    grid = geometry.grid
    if grid.is_image((image.shape[0], image.shape[1])):
        return image
    u = (torch.arange(grid.width, device=image.device) * grid.scale_u + grid.offset_u).round().long()
    v = (torch.arange(grid.height, device=image.device) * grid.scale_v + grid.offset_v).round().long()
    return image[v.clamp(0, image.shape[0] - 1)[:, None], u.clamp(0, image.shape[1] - 1)[None, :]]


def resample_to_image(labels: Tensor, geometry: Geometry, size: tuple[int, int]) -> Tensor:
    """Resample labels on the geometry's grid to an image of `size` (H, W), nearest; 0 outside of the grid."""
    grid = geometry.grid
    if grid.is_image(size):
        return labels
    u = ((torch.arange(size[1], device=labels.device) - grid.offset_u) / grid.scale_u).round().long()
    v = ((torch.arange(size[0], device=labels.device) - grid.offset_v) / grid.scale_v).round().long()
    inside = ((v >= 0) & (v < grid.height))[:, None] & ((u >= 0) & (u < grid.width))[None, :]
    picked = labels[v.clamp(0, grid.height - 1)[:, None], u.clamp(0, grid.width - 1)[None, :]]
    return torch.where(inside, picked, 0)


def sample_cells(features: FeatureMap, geometry: Geometry, h: int, w: int) -> Tensor:
    """Sample features (h, w, C) at the centres of h x w cells that lie evenly over the geometry's pixels.

    Sampling is bilinear; outside of the map its border is repeated.
    """
    grid, size = geometry.grid, features.size
    if features.features.shape[:2] == (h, w) and (size is None or grid.is_image(size)):
        return features.features
    v = (torch.arange(h, device=geometry.device) + 0.5) * (grid.height / h) - 0.5
    u = (torch.arange(w, device=geometry.device) + 0.5) * (grid.width / w) - 0.5
    if size is not None:
        v, u = v * grid.scale_v + grid.offset_v, u * grid.scale_u + grid.offset_u
    height, width = size or (grid.height, grid.width)
    y, x = (2 * v + 1) / height - 1, (2 * u + 1) / width - 1
    places = torch.stack((x[None, :].expand(h, w), y[:, None].expand(h, w)), dim=-1)
    image = features.features.permute(2, 0, 1)[None]
    sampled = grid_sample(image, places[None].to(image), padding_mode="border", align_corners=False)
    return sampled[0].permute(1, 2, 0)
