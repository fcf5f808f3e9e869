"""Simulated masks of frames whose exact ids are known, for benchmarks and for the training of queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic import MaskNoise
from moonseg3r_core.types import Frame, Geometry, MaskProposals


@dataclass(frozen=True)
class SimulatedMasks:
    """A mask source that degrades the exact ids (H, W) of a frame, which `ids` gives for its index."""

    ids: Callable[[int], Tensor]
    seed: int
    noise: MaskNoise = MaskNoise()

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        labels = self.noise(self.ids(frame.index), self.seed, frame.index).to(frame.image.device)
        masks = labels == torch.arange(1, int(labels.max()) + 1, device=labels.device)[:, None, None]
        return MaskProposals(masks, torch.ones(len(masks), device=labels.device))
