"""Long sequences in chunks: the state starts anew now and then, and what it says is chained to what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.inference import Inference
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.quality import find_confident
from moonseg3r_core.runtime.state import cpu_copy, read_tensor

_MOST = 1e3  # ratio of two chunks' units; beyond it one of them is mistaken


def _eye() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


def _origin() -> Tensor:
    return torch.zeros(3, dtype=torch.float64)


@dataclass(frozen=True)
class Similarity:
    """World = scale * rotation (3, 3) @ point + translation (3,), float64 on the CPU; by default nothing moves."""

    scale: float = 1.0
    rotation: Tensor = field(default_factory=_eye)
    translation: Tensor = field(default_factory=_origin)

    def pose(self, camera: Tensor) -> Tensor:
        """A camera (4, 4) of the chunk's world as one of the world; still rigid."""
        moved = torch.eye(4, dtype=torch.float64)
        moved[:3, :3] = self.rotation @ camera[:3, :3]
        moved[:3, 3] = self.scale * self.rotation @ camera[:3, 3] + self.translation
        return moved

    def points(self, points: Tensor) -> Tensor:
        """Points (..., 3) of the chunk's world in the world, in their own dtype and device."""
        return points @ (self.scale * self.rotation).T.to(points) + self.translation.to(points)


class Submaps:
    """The similarity of the current chunk, and its key frames; after `every` of them (0: never) the next is due."""

    def __init__(self, every: int = 0) -> None:
        self.every = every
        self.reset()

    def reset(self) -> None:
        self.number, self.keys, self.similarity = 0, 0, Similarity()

    @property
    def due(self) -> bool:
        """Whether the next key frame begins a new chunk."""
        return 0 < self.every <= self.keys

    def add_key(self) -> None:
        """One more key frame in this chunk."""
        self.keys += 1

    def begin(self, similarity: Similarity) -> None:
        """A new chunk that lies so in the world; it has no key frame yet."""
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
    """The new chunk's similarity: its camera (4, 4) of the boundary frame falls on the old chunk's, its lengths times
    `ratio` are the old one's.
    """
    boundary, scale = before.pose(old), before.scale * ratio
    rotation = boundary[:3, :3] @ new[:3, :3].T
    return Similarity(scale, rotation, boundary[:3, 3] - scale * rotation @ new[:3, 3])


def align(before: Similarity, old: Inference, new: Inference, min_confidence: float) -> Similarity | None:
    """The new chunk's similarity from the boundary frame seen by both states; None where the new one saw nothing,
    or all of it at a depth out of all proportion.

    Scale is the median ratio of the depths that both trust. The demo of TTT3R chains poses alone (docs/cut3r_facts.md, 11):
    there a chunk of another scale bends the trajectory.
    """
    if new.reading.fault:
        return None
    ratio = float(_depth_ratio(old.outputs, new.outputs, min_confidence))
    return chain_similarity(before, ratio, old.reading.pose, new.reading.pose) if 1 / _MOST < ratio < _MOST else None


def _depth_ratio(old: Outputs, new: Outputs, min_confidence: float) -> Tensor:
    """The median of old over new depth, (); NaN where no pixel is trusted by both."""
    both = find_confident(old.self_points[0], old.self_confidence[0], min_confidence)
    both &= find_confident(new.self_points[0], new.self_confidence[0], min_confidence)
    ratio = old.self_points[0, ..., 2].abs() / new.self_points[0, ..., 2].abs()
    return torch.where(both & ratio.isfinite(), ratio, torch.nan).nanmedian()
