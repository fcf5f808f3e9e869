"""Fourier features of positions in space or color; their cosine similarity falls with distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def spread_directions(count: int) -> Tensor:
    """Spread `count` unit vectors (count, 3) evenly over a half sphere (Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack((radius * angle.cos(), radius * angle.sin(), z), dim=-1).float()


def encode_fourier(points: Tensor, longest: float, octaves: int, count: int = 16) -> Tensor:
    """Encode points (..., 3) as unit vectors (..., 2 * count * octaves).

    These are sines and cosines of the positions along `count` directions at the wavelengths longest, longest / 2, ...
    (`octaves` of them). The dot product of two encodings at distance r is close to the mean of sinc(2 r / wavelength)
    over the wavelengths: 1 at r = 0, near 0 beyond `longest`, in any direction (Rahimi & Recht 2007). The mean of many
    encodings is a kernel mean embedding; the cosine of two such means is the overlap of two point sets.
    """
    angles = points @ spread_directions(count).to(points).T * (2 * math.pi / longest)
    sine, cosine = angles.sin(), angles.cos()
    parts = [sine, cosine]
    for _ in range(octaves - 1):  # sin 2a = 2 sin a cos a; cos 2a = 1 - 2 sin^2 a
        sine, cosine = (2 * sine).mul_(cosine), (2 * sine).mul_(sine).neg_().add_(1)
        parts += [sine, cosine]
    return torch.cat(parts, dim=-1).div_(math.sqrt(count * octaves))


def encode_positions(points: Tensor, valid: Tensor, cell: int, longest: float, octaves: int) -> Tensor:
    """Encode F3d (h, w, C): the mean encoding of a cell's valid points (H, W, 3), four along each edge of a cell.

    h = ceil(H / cell); the grid lies evenly over the image. A cell without a point is zero.
    """
    height, width = valid.shape
    h, w = -(-height // cell), -(-width // cell)
    step = max(cell // 4, 1)
    rows = torch.arange(min(step // 2, height - 1), height, step, device=points.device)
    columns = torch.arange(min(step // 2, width - 1), width, step, device=points.device)
    keep = valid[rows[:, None], columns[None, :]]
    cells = (rows * h // height * w)[:, None] + (columns * w // width)[None, :]
    encoded = encode_fourier(points[rows[:, None], columns[None, :]][keep], longest, octaves)
    sums = torch.zeros(h * w, encoded.shape[-1], device=points.device).index_add_(0, cells[keep], encoded)
    counts = torch.bincount(cells[keep], minlength=h * w)
    return (sums / counts.clamp(min=1)[:, None]).view(h, w, -1)
