"""Depth carried from one view into another: points are moved, projected, and the nearest at a pixel stays."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.ops.blocks import compute_pixel_grid


def carry_depth(depth: Tensor, spread: Tensor, view_from_former: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Carry depth (B, h, w), 0 = unknown, and the spread of its log into another view: both (B, h, w), 0 where nothing
    arrives.

    view_from_former (B, 4, 4); intrinsics (B, 3, 3) of both views. A point covers the four pixels around it.
    """
    batch, height, width = depth.shape
    with torch.autocast(depth.device.type, enabled=False):  # a pixel's place needs all digits
        rays = torch.linalg.inv(intrinsics) @ compute_pixel_grid(height, width, depth.device)
        points = view_from_former[:, :3, :3] @ (rays * depth.reshape(batch, 1, -1)) + view_from_former[:, :3, 3:]
        projected = intrinsics @ points
    z = points[:, 2]
    good = (depth.reshape(batch, -1) > 0) & (z > 1e-3)
    u, v = (projected[:, axis] / z.clamp(min=1e-3) for axis in (0, 1))
    corner_u, corner_v = u.floor(), v.floor()
    cells = height * width
    nearest = torch.full((batch, cells + 1), torch.inf, device=depth.device)
    places = []
    for right in (0, 1):
        for down in (0, 1):
            column, row = corner_u + right, corner_v + down
            inside = good & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = torch.where(inside, row * width + column, cells).long()
            nearest.scatter_reduce_(1, place, torch.where(inside, z, torch.inf), "amin")
            places.append(place)
    arrived = torch.zeros_like(nearest)
    for place in places:
        is_nearest = z <= nearest.gather(1, place) * 1.02
        arrived.scatter_(1, torch.where(is_nearest, place, cells), spread.reshape(batch, -1))
    nearest, arrived = nearest[:, :cells], arrived[:, :cells]
    known = nearest.isfinite() & (arrived > 0)
    shape = (batch, height, width)
    return torch.where(known, nearest, 0.0).reshape(shape), torch.where(known, arrived, 0.0).reshape(shape)
