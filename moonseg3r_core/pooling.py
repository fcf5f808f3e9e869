"""Masks as one label image, and on a coarse grid: how many of a cell's pixels belong to each (eq 2 and 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.types import MaskProposals


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


def to_labels(proposals: MaskProposals) -> Tensor:
    """Proposals as one image (H, W) int32: 0 = none, m + 1 = row m.

    Where masks overlap the best-scoring one keeps the pixel, ties go to the smaller mask, then to the earlier row.
    """
    masks = proposals.masks
    labels = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    areas = [int(torch.count_nonzero(mask)) for mask in masks]
    ranks = zip(proposals.scores.tolist(), areas, range(len(masks)), strict=True)
    for _, _, row in sorted(ranks, key=lambda rank: (rank[0], -rank[1], -rank[2])):
        labels.masked_fill_(masks[row], row + 1)
    return labels
