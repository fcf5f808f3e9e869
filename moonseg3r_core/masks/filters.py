"""Disjoint masks in order of area, from overlapping proposals or from label images."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.ops.pooling import paint_labels, split_labels
from moonseg3r_core.types import MaskProposals


class MaskFilter:
    """Proposals -> disjoint proposals of at least `min_area` pixels, largest first.

    Each pixel goes to its best-scoring mask, ties to the smaller mask; a mask's area is counted after that.
    """

    def __init__(self, min_area: int) -> None:
        self.min_area = min_area

    def __call__(self, proposals: MaskProposals) -> MaskProposals:
        return make_proposals(paint_labels(proposals), self.min_area, proposals.scores)


def make_proposals(labels: Tensor, min_area: int = 1, scores: Tensor | None = None) -> MaskProposals:
    """Make disjoint masks, largest first, ties by label, from labels (H, W) of any integer type (0 = none).

    Masks under `min_area` pixels are left out. `scores` (L,): label l has scores[l - 1]; without it every score is 1.
    Memory grows with the largest label: labels count from 1, or come from a 16-bit image.
    """
    labels = labels.int().clamp(min=0)
    areas = torch.bincount(labels.flatten(), minlength=1)
    areas[0] = 0
    order = areas.sort(descending=True, stable=True).indices
    kept = order[(areas[order] >= max(min_area, 1))]
    rank = torch.zeros(len(areas), dtype=torch.int32, device=labels.device)
    rank[kept] = torch.arange(1, len(kept) + 1, dtype=torch.int32, device=labels.device)
    masks = split_labels(rank.index_select(0, labels.flatten()).view(labels.shape), len(kept))
    return MaskProposals(masks, torch.ones(len(kept), device=labels.device) if scores is None else scores[kept - 1])
