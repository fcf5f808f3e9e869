"""Masks on a coarse grid: how many of a cell's pixels belong to each mask (paper eq 2, 8 and 11 share it)."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_counts(labels: Tensor, masks: int, h: int, w: int, valid: Tensor | None = None) -> Tensor:
    """Pixels of each mask in each cell of an (h, w) grid laid over the image: (masks, h * w) float32.

    labels (H, W) int32 with m + 1 for mask m; `valid` (H, W) bool leaves pixels out. A mask smaller than a cell still
    counts there, so that it has a query.
    """
    height, width = labels.shape
    rows = torch.arange(height, device=labels.device) * h // max(height, 1)
    columns = torch.arange(width, device=labels.device) * w // max(width, 1)
    cells = rows[:, None] * w + columns[None, :]
    index = labels.long() * (h * w) + cells
    if valid is not None:
        index = index[valid]
    counts = torch.bincount(index.flatten(), minlength=(masks + 1) * h * w)
    return counts.view(masks + 1, h * w)[1:].float()
