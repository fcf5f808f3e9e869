"""Where a cell's points lie, as features: F3d of exact geometry, and of a small net's (paper section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.ops.fourier import fourier_features


def position_features(points: Tensor, valid: Tensor, cell: int, longest: float, octaves: int) -> Tensor:
    """F3d (h, w, C): the mean encoding of a cell's valid points (H, W, 3), four along each edge of a cell.

    h = ceil(H / cell); the grid is laid evenly over the image. A cell without a point is zero.
    """
    height, width = valid.shape
    h, w = -(-height // cell), -(-width // cell)
    step = max(cell // 4, 1)
    rows = torch.arange(min(step // 2, height - 1), height, step, device=points.device)
    columns = torch.arange(min(step // 2, width - 1), width, step, device=points.device)
    keep = valid[rows[:, None], columns[None, :]]
    cells = (rows * h // height * w)[:, None] + (columns * w // width)[None, :]
    encoded = fourier_features(points[rows[:, None], columns[None, :]][keep], longest, octaves)
    sums = torch.zeros(h * w, encoded.shape[-1], device=points.device).index_add_(0, cells[keep], encoded)
    counts = torch.bincount(cells[keep], minlength=h * w)
    return (sums / counts.clamp(min=1)[:, None]).view(h, w, -1)
