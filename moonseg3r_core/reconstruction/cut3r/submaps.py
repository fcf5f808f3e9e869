"""Submaps of long sequences: the state restarts now and then, and each submap is aligned with the one before."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.inference import Inference
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.quality import find_confident
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.runtime.state import cpu_copy, read_tensor

_MAX_RATIO = 1e3  # of two submaps' units; beyond it one of them is wrong


class Submaps:
    """The similarity of the current submap and its number of key frames; after `every` (0: never) a new one is due."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.reset()

    def reset(self) -> None:
        self.number, self.keys, self.similarity = 0, 0, Similarity()

    @property
    def is_due(self) -> bool:
        """Whether the next key frame begins a new submap."""
        return 0 < self.every <= self.keys

    def add_keyframe(self) -> None:
        """Count a key frame of this submap."""
        self.keys += 1

    def begin(self, similarity: Similarity) -> None:
        """Begin a submap without key frames."""
        self.number, self.keys, self.similarity = self.number + 1, 0, similarity

    def state_dict(self) -> dict[str, Tensor]:
        s = self.similarity
        return {
            "counts": torch.tensor([self.number, self.keys]),
            "scale": torch.tensor([s.scale], dtype=torch.float64),
            "rotation": cpu_copy(s.rotation),
            "translation": cpu_copy(s.translation),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        double = torch.float64
        number, keys = read_tensor(state, "counts", (2,)).tolist()
        similarity = Similarity(
            float(read_tensor(state, "scale", (1,), double)),
            read_tensor(state, "rotation", (3, 3), double),
            read_tensor(state, "translation", (3,), double),
        )
        self.number, self.keys, self.similarity = number, keys, similarity


def chain_similarity(before: Similarity, ratio: float, old: Tensor, new: Tensor) -> Similarity:
    """Chain a new submap to the one before: the two cameras (4, 4) of the boundary frame coincide.

    ratio: units of the old submap per unit of the new one.
    """
    boundary, scale = before.transform_pose(old), before.scale * ratio
    rotation = boundary[:3, :3] @ new[:3, :3].T
    return Similarity(scale, rotation, boundary[:3, 3] - scale * rotation @ new[:3, 3])


def align(before: Similarity, old: Inference, new: Inference, min_confidence: float) -> Similarity | None:
    """Align a new submap by the boundary frame, which both states have processed; None with unusable outputs.

    The scale is the median ratio of the depths that both are confident of. The demo of TTT3R aligns poses alone
    (docs/cut3r_facts.md, 11), where a submap of another scale bends the trajectory.
    """
    if new.check.fault:
        return None
    ratio = float(_compute_depth_ratio(old.outputs, new.outputs, min_confidence))
    return (
        chain_similarity(before, ratio, old.check.pose, new.check.pose) if 1 / _MAX_RATIO < ratio < _MAX_RATIO else None
    )


def _compute_depth_ratio(old: Outputs, new: Outputs, min_confidence: float) -> Tensor:
    """Compute the median of old over new depth, (); NaN where no pixel is confident in both."""
    both = find_confident(old.self_points[0], old.self_confidence[0], min_confidence)
    both &= find_confident(new.self_points[0], new.self_confidence[0], min_confidence)
    ratio = old.self_points[0, ..., 2].abs() / new.self_points[0, ..., 2].abs()
    return torch.where(both & ratio.isfinite(), ratio, torch.nan).nanmedian()
