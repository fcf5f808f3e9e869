"""Overlap of a frame's masks with the map's labels in view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of one frame: shared (K, M) of instance k under mask m, of_instance (K,) in view,
    of_mask (M,) on the map's labels, mask_pixels (M,) with a point at all. All float32.
    """

    shared: Tensor
    of_instance: Tensor
    of_mask: Tensor
    mask_pixels: Tensor

    @property
    def iou(self) -> Tensor:
        """(K, M) intersection over union on the pixels that the map has labels for."""
        union = self.of_instance[:, None] + self.of_mask[None, :] - self.shared
        return self.shared / union.clamp(min=1)

    @property
    def share(self) -> Tensor:
        """(K, M) share of each mask's pixels that lie on each instance."""
        return self.shared / self.mask_pixels[None, :].clamp(min=1)

    @property
    def cover(self) -> Tensor:
        """(K, M) share of each instance's pixels in view that each mask covers."""
        return self.shared / self.of_instance[:, None].clamp(min=1)


def count_overlap(rows: Tensor, labels: Tensor, instances: int, masks: int) -> Overlap:
    """Count the overlap of rows (N,) int64, an instance's row + 1 or 0, and labels (N,) int64, a mask's row + 1 or 0."""
    table = torch.bincount(rows * (masks + 1) + labels, minlength=(instances + 1) * (masks + 1))
    table = table.view(instances + 1, masks + 1).float()
    return Overlap(table[1:, 1:], table[1:].sum(1), table[1:, 1:].sum(0), table[:, 1:].sum(0))
