"""Depth carried from one view into another, and fused with what that one has.

Source of the fusion: Pizzoli, Forster and Scaramuzza, "REMODE" (2014), section III, with Gaussian measurements alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.ops.blocks import compute_pixel_grid

_DRIFT = 0.02  # sigma of the log of a depth that a frame's motion adds
_GATE = 2.0  # sums of both spreads beyond which depths tell of two surfaces
_MIN_SPREAD = 0.02  # of fused depth: errors of neighbouring frames are alike


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


def fuse_depth(depth: Tensor, spread: Tensor, carried: Tensor, carried_spread: Tensor) -> tuple[Tensor, Tensor]:
    """Fuse depth (h, w) with carried depth, 0 = unknown, by the spreads of their logs; depth and spread where they differ.

    A Kalman update of log depth, whose spread has grown by the drift.
    """
    old, new = (carried_spread + _DRIFT).square(), spread.square()
    away = carried.clamp(min=1e-6).log() - depth.log()
    alike = (carried > 0) & (away.abs() < _GATE * (spread + carried_spread + _DRIFT))
    fused = depth * (away * new / (old + new)).exp()
    sure = (old * new / (old + new)).sqrt().clamp(min=_MIN_SPREAD)
    return torch.where(alike, fused, depth), torch.where(alike, sure, spread)
