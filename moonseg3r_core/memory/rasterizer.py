"""Nearest-point rasterisation of the projected keys (paper eq 9; supplement "Map Rasterization").

A point covers the pixels whose centres lie strictly inside its disc. A pixel shows the nearest point that covers it, the
first of equally near ones. Centres are tested in PyTorch3D's own arithmetic (normalised device coordinates in float32),
so that the discs' borders agree with its rasteriser to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.geometry import project
from moonseg3r_core.types import check

NEAR = 0.05  # metres; points at this z or nearer are left out


@dataclass(frozen=True)
class Raster:
    """index (H, W) int32, the point at each pixel, and depth (H, W) float32, its z; both -1 for none."""

    index: Tensor
    depth: Tensor


class Rasterizer(Protocol):
    """Camera points (N, 3) float32 metres, intrinsics (3, 3), radius_px (N,) float32 or one number -> Raster."""

    def __call__(
        self, points_camera: Tensor, intrinsics: Tensor, height: int, width: int, radius_px: Tensor | float
    ) -> Raster: ...


@dataclass(frozen=True)
class Discs:
    """Points as discs, the nearest first: index (n,) int64 into the points, z (n,) metres; u, v (n,) pixels;
    x, y (n,) normalised device coordinates; square (n,) the squared radius in those; radius (n,) pixels.
    """

    index: Tensor
    z: Tensor
    u: Tensor
    v: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    square: Tensor

    def __len__(self) -> int:
        return self.index.shape[0]


def rasterize(points_camera: Tensor, intrinsics: Tensor, height: int, width: int, radius_px: Tensor | float) -> Raster:
    """Rasterize the nearest point at every pixel, on CPU and CUDA alike; the fast twin of `rasterize_plain`.

    A disc is one span of pixels per image row. A span is written as two overlapping blocks of 2^level pixels, level by
    level, and the levels are then merged downwards: O(N * radius + H * W * log W), not O(N * radius^2).
    """
    discs = project_discs(points_camera, intrinsics, height, width, radius_px)
    if len(discs) == 0 or height == 0 or width == 0:
        return _make_raster(torch.full((height, width), len(discs), device=points_camera.device), discs)
    disc, row, first, last = _compute_spans(discs, height, width)
    return _make_raster(_find_nearest(disc, row, first, last, len(discs), height, width), discs)


def rasterize_plain(
    points_camera: Tensor, intrinsics: Tensor, height: int, width: int, radius_px: Tensor | float
) -> Raster:
    """Rasterize by the definition, point by point from the nearest to the farthest: O(N * H * W)."""
    discs = project_discs(points_camera, intrinsics, height, width, radius_px)
    rank = torch.full((height, width), len(discs), device=points_camera.device)
    column_x = compute_centers(torch.arange(width, device=rank.device).float(), width, height)
    row_y = compute_centers(torch.arange(height, device=rank.device).float(), height, width)
    for i in range(len(discs)):
        dx, dy = column_x - discs.x[i], row_y - discs.y[i]
        inside = dx[None, :] * dx[None, :] + dy[:, None] * dy[:, None] < discs.square[i]
        rank = torch.where(inside, rank.clamp(max=i), rank)
    return _make_raster(rank, discs)


def project_discs(points: Tensor, intrinsics: Tensor, height: int, width: int, radius_px: Tensor | float) -> Discs:
    """Project the points before the camera whose discs may touch the image, by depth, then by index."""
    sizes: dict[str, int] = {}
    check("points_camera", points, ("N", 3), torch.float32, sizes)
    check("intrinsics", intrinsics, (3, 3), torch.float32, sizes)
    if isinstance(radius_px, Tensor) and radius_px.ndim:
        check("radius_px", radius_px, ("N",), torch.float32, sizes)
    radius = torch.as_tensor(radius_px, dtype=torch.float32, device=points.device).expand(len(points))
    pixels, z = project(points, intrinsics)
    margin = radius[:, None] + 1
    size = torch.tensor([width, height], device=points.device)
    near_image = ((pixels > -margin) & (pixels < size + margin)).all(-1)
    index = ((z > NEAR) & (radius > 0) & near_image).nonzero()[:, 0]
    index = index[torch.argsort(z[index], stable=True)]
    u, v, radius, unit = pixels[index, 0], pixels[index, 1], radius[index], 2.0 / max(min(height, width), 1)
    x, y = ((width - 1) / 2 - u) * unit, ((height - 1) / 2 - v) * unit
    ndc_radius = radius * unit
    return Discs(index, z[index], u, v, x, y, radius, ndc_radius * ndc_radius)


def compute_centers(pixel: Tensor, size: int, other: int) -> Tensor:
    """Compute the centres of pixels (any) float32 along a side of `size` pixels, in PyTorch3D's device coordinates.

    The shorter of the two sides spans [-1, 1]; the axes point left and up, so the values fall with the pixel.
    """
    span = torch.tensor(2.0) * size / other if size > other else torch.tensor(2.0)
    half = float(span / 2)
    count = torch.tensor(float(size), device=pixel.device)  # a tensor: CUDA would multiply by a number's reciprocal
    return -half + (float(span) * (size - 1 - pixel) + half) / count


def _compute_spans(discs: Discs, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute disc and row (R,) int64, first and last column (R,) float32 of every disc's rows; first > last: empty."""
    top = torch.floor(discs.v - discs.radius).clamp(0, height)
    bottom = torch.ceil(discs.v + discs.radius).clamp(-1, height - 1)
    counts = (bottom - top + 1).clamp(min=0).long()
    disc = torch.repeat_interleave(counts)
    row = torch.arange(len(disc), device=disc.device) + (top.long() - (counts.cumsum(0) - counts))[disc]
    u, x, y, square = torch.stack((discs.u, discs.x, discs.y, discs.square), dim=1)[disc].T.contiguous()
    dy = compute_centers(row.float(), height, width) - y
    dy2 = dy * dy

    def is_inside(column: Tensor) -> Tensor:
        dx = compute_centers(column, width, height) - x
        return dx * dx + dy2 < square

    half = (square - dy2).clamp(min=0).sqrt() * (min(height, width) / 2)
    first = torch.ceil(u - half).clamp(0, width)
    last = torch.floor(u + half).clamp(-1, width - 1)
    # The square root finds either end to within one pixel; the definition decides.
    first = torch.where(is_inside(first - 1), first - 1, first + (~is_inside(first)).float())
    last = torch.where(is_inside(last + 1), last + 1, last - (~is_inside(last)).float())
    return disc, row, first.clamp(min=0), last.clamp(max=width - 1)


def _find_nearest(
    disc: Tensor, row: Tensor, first: Tensor, last: Tensor, discs: int, height: int, width: int
) -> Tensor:
    """Find the smallest disc number over the spans at each pixel (H, W) int32; `discs` where there is none."""
    level_of = torch.frexp(torch.arange(width + 1).clamp(min=1).float()).exponent.long() - 1
    length = (last - first + 1).clamp(min=1).long()
    levels = int(level_of[int(length.max())]) + 1 if len(length) else 1
    start = (level_of * (height * width)).to(disc.device)[length] + row * width + first.clamp(max=width - 1).long()
    rank = torch.where(first <= last, disc, discs).to(torch.int32)
    blocks = torch.full((levels * height * width,), discs, dtype=torch.int32, device=disc.device)
    blocks.scatter_reduce_(0, start, rank, "amin")
    # The second block ends where the span does.
    rest = torch.arange(width + 1) - torch.bitwise_left_shift(torch.ones_like(level_of), level_of)
    blocks.scatter_reduce_(0, start + rest.clamp(min=0).to(disc.device)[length], rank, "amin")
    blocks = blocks.view(levels, height, width)
    for upper in range(levels - 1, 0, -1):
        half = 1 << (upper - 1)
        lower = blocks[upper - 1]
        torch.minimum(lower, blocks[upper], out=lower)
        torch.minimum(lower[:, half:], blocks[upper][:, :-half], out=lower[:, half:])
    return blocks[0]


def _make_raster(rank: Tensor, discs: Discs) -> Raster:
    """Turn disc numbers (H, W), one past the last for none, into the points' numbers and depths."""
    none = torch.full((1,), -1, device=rank.device)
    index = torch.cat((discs.index, none)).to(torch.int32)
    depth = torch.cat((discs.z, none.float()))
    return Raster(index[rank.long()], depth[rank.long()])
