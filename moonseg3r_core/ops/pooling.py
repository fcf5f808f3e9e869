"""Masks as one label image, and their pixel counts per cell of a coarse grid (eq 2 and 11)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.types import MaskProposals


def count_cell_pixels(labels: Tensor, masks: int, h: int, w: int, valid: Tensor | None = None) -> Tensor:
    """Count the pixels of each mask in each cell of an (h, w) grid over the image: (masks, h * w) float32.

    labels (H, W) int32 with m + 1 for mask m; `valid` (H, W) bool leaves pixels out.
    """
    height, width = labels.shape
    rows = torch.arange(height, device=labels.device) * h // max(height, 1)
    columns = torch.arange(width, device=labels.device) * w // max(width, 1)
    cells = (rows[:, None] * w + columns[None, :]).int()
    index = labels * (h * w) + cells
    if valid is not None:
        index = index[valid]
    counts = torch.bincount(index.flatten(), minlength=(masks + 1) * h * w)
    return counts.view(masks + 1, h * w)[1:].float()


def paint_labels(proposals: MaskProposals) -> Tensor:
    """Paint proposals into one image (H, W) int32: 0 = none, m + 1 = row m.

    Where masks overlap the pixel goes to the best score, ties to the smaller mask, then to the earlier row.
    """
    masks = proposals.masks
    ranks = zip(proposals.scores.tolist(), _count_areas(masks), range(len(masks)), strict=True)
    labels = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    for _, _, row in sorted(ranks, key=lambda rank: (rank[0], -rank[1], -rank[2])):
        _paint(labels, masks[row], row + 1)
    return labels


def split_labels(labels: Tensor, masks: int) -> Tensor:
    """Split an image (H, W) int32 of 0 = none, m + 1 = mask m, into masks (M, H, W) bool."""
    rows = torch.arange(1, masks + 1, dtype=torch.int32, device=labels.device)[:, None, None]
    return torch.from_numpy(labels.numpy() == rows.numpy()) if _use_numpy(labels) else labels == rows


def _count_areas(masks: Tensor) -> list[int]:
    """Count the pixels of each mask (M, H, W)."""
    if _use_numpy(masks):
        return [int(np.count_nonzero(mask)) for mask in masks.numpy()]
    return masks.flatten(1).count_nonzero(1).tolist()


def _paint(labels: Tensor, mask: Tensor, label: int) -> None:
    """Set labels (H, W) to `label` where mask (H, W) is True."""
    if _use_numpy(labels):
        np.copyto(labels.numpy(), label, where=mask.numpy())
    else:
        labels.masked_fill_(mask, label)


def _use_numpy(tensor: Tensor) -> bool:
    """Return whether to use numpy: on the CPU it takes a third to a tenth of torch's time for booleans."""
    return tensor.device.type == "cpu"
