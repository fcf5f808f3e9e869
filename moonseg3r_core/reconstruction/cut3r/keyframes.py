"""Key frames: those that change the state. A standing camera neither drifts nor wears the state out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.state import plain, take


class KeyFrames:
    """The last key frame's pose, and how many there were.

    A frame becomes one when the camera has moved from the last one by `translation` (share of the median depth) or
    turned by `rotation` (degrees). Where one of them is 0 every frame does; so does the first.
    """

    def __init__(self, translation: float = 0.02, rotation: float = 2.0) -> None:
        self.translation, self.rotation = translation, rotation
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self._pose: Tensor | None = None

    def moved(self, pose: Tensor, depth: float) -> bool:
        """Whether world_from_camera (4, 4) is far enough; depth in the units of the pose."""
        if self._pose is None:
            return True
        away = float((pose[:3, 3] - self._pose[:3, 3]).norm())
        return away >= self.translation * depth or angle(pose, self._pose) >= self.rotation

    def add(self, pose: Tensor) -> None:
        """A key frame at this pose."""
        self._pose, self.count = pose, self.count + 1

    def state_dict(self) -> dict[str, Tensor]:
        poses = torch.zeros(0, 4, 4, dtype=torch.float64) if self._pose is None else plain(self._pose[None])
        return {"pose": poses, "count": torch.tensor([self.count])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        poses = take(state, "pose", ("0 or 1", 4, 4), torch.float64)
        self.count = int(take(state, "count", (1,)))
        self._pose = poses[0] if len(poses) else None


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between the rotations of two poses (4, 4); exact for small ones, where the trace is not."""
    chord = float((a[:3, :3] - b[:3, :3]).norm()) / math.sqrt(8)
    return math.degrees(2 * math.asin(min(chord, 1.0)))
