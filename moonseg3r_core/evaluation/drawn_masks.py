"""Masks as a mask model gives them, where the exact ids of a frame are known: for measuring, and for training queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic import MaskNoise
from moonseg3r_core.types import Frame, Geometry, MaskProposals


@dataclass(frozen=True)
class DrawnMasks:
    """The truth of a frame, `ids` (H, W) of its index, made as poor as a mask model's: numbered and split anew in each."""

    ids: Callable[[int], Tensor]
    seed: int = 0
    noise: MaskNoise = MaskNoise()

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        labels = self.noise(self.ids(frame.index), self.seed, frame.index).to(frame.image.device)
        masks = labels == torch.arange(1, int(labels.max()) + 1, device=labels.device)[:, None, None]
        return MaskProposals(masks, torch.ones(len(masks), device=labels.device))
