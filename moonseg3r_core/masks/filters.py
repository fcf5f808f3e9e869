"""What all mask models share: overlaps, order, minimum area, connected components, label images."""

from __future__ import annotations

import torch
from skimage.measure import label as connected_components
from torch import Tensor

from moonseg3r_core.types import MaskProposals


class MaskFilter:
    """Proposals -> disjoint proposals of at least `min_area` pixels, largest first.

    Each pixel goes to its best-scoring mask, ties to the smaller mask. With `split`, every connected part of a mask
    (4-neighbours) becomes a mask of its own, with the same score. A mask's area is counted after both.
    """

    def __init__(self, min_area: int = 1, split: bool = False) -> None:
        self.min_area, self.split = min_area, split

    def __call__(self, proposals: MaskProposals) -> MaskProposals:
        labels = to_labels(proposals)
        scores = proposals.scores
        if self.split:
            labels, owners = split_components(labels)
            scores = scores[owners]
        return from_labels(labels, self.min_area, scores)


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


def from_labels(labels: Tensor, min_area: int = 1, scores: Tensor | None = None) -> MaskProposals:
    """A label image (H, W) of any integer type (0 = none) as disjoint masks, largest first, ties by label.

    Masks under `min_area` pixels are left out. `scores` (L,): label l has scores[l - 1]; without it every score is 1.
    Memory grows with the largest label, so labels belong to a 16-bit image or a count.
    """
    labels = labels.long().clamp(min=0)
    areas = torch.bincount(labels.flatten(), minlength=1)
    areas[0] = 0
    order = areas.sort(descending=True, stable=True).indices
    kept = order[(areas[order] >= max(min_area, 1))]
    rank = torch.zeros(len(areas), dtype=torch.int32, device=labels.device)
    rank[kept] = torch.arange(1, len(kept) + 1, dtype=torch.int32, device=labels.device)
    rows = torch.arange(1, len(kept) + 1, dtype=torch.int32, device=labels.device)
    masks = rank[labels][None] == rows[:, None, None]
    return MaskProposals(masks, torch.ones(len(kept), device=labels.device) if scores is None else scores[kept - 1])


def split_components(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The connected parts (4-neighbours) of a label image (H, W), numbered from 1, and the row (label - 1) each part
    came from, (parts,) int64.
    """
    parts = torch.from_numpy(connected_components(labels.cpu().numpy(), background=0, connectivity=1)).long()
    parts = parts.to(labels.device)
    owners = torch.zeros(int(parts.max()) + 1 if parts.numel() else 1, dtype=torch.int64, device=labels.device)
    owners[parts.flatten()] = labels.flatten().long()
    return parts.to(torch.int32), owners[1:] - 1
