"""Key frames: those that change the state. A standing camera neither drifts nor wears the state out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.quality import shrink_to_gray
from moonseg3r_core.runtime.state import cpu_copy, read_tensor

_SIDE = 64  # pixels: coarse enough for noise to vanish
_CHANGED = 2.0  # mean grey levels of 255; noise and flicker stay below, two degrees of turn make four and more


class KeyframeSelector:
    """The last key frame's pose and view, and how many there were.

    A frame becomes one when the camera has moved from the last one by `translation` (share of the median depth) or
    turned by `rotation` (degrees), and the view has changed: a state that learns moves the pose a little by itself, and
    a camera that stands must not follow. With either at 0 every frame is one; the first always is.
    """

    def __init__(self, translation: float = 0.02, rotation: float = 2.0) -> None:
        self.translation, self.rotation = translation, rotation
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self._last: tuple[Tensor, Tensor] | None = None

    def due(self, pose: Tensor, depth: float, view: Tensor) -> bool:
        """Whether a frame at world_from_camera (4, 4) is one; depth in the units of the pose, view as of `glance`."""
        if self._last is None or min(self.translation, self.rotation) == 0:
            return True
        last, seen = self._last
        away = float((pose[:3, 3] - last[:3, 3]).norm())
        moved = away >= self.translation * depth or angle(pose, last) >= self.rotation
        return moved and (view.shape != seen.shape or float((view.float() - seen.float()).abs().mean()) >= _CHANGED)

    def add(self, pose: Tensor, view: Tensor) -> None:
        """A key frame at this pose, with this view."""
        self._last, self.count = (pose, view), self.count + 1

    def state_dict(self) -> dict[str, Tensor]:
        pose, view = self._last or (torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.uint8))
        return {"pose": cpu_copy(pose), "view": cpu_copy(view), "count": torch.tensor([self.count])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pose = read_tensor(state, "pose", ("0 or 4", 4), torch.float64)
        view = read_tensor(state, "view", ("h", "w"), torch.uint8)
        self.count = int(read_tensor(state, "count", (1,)))
        self._last = (pose, view) if len(pose) else None


def make_thumbnail(image: Tensor) -> Tensor:
    """What is kept of an image (H, W, 3) uint8 to see whether the view changes: gray (h, w) uint8 on the CPU, 64 wide or high."""
    return torch.from_numpy(shrink_to_gray(image.cpu().numpy(), _SIDE))


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between the rotations of two poses (4, 4); exact for small ones, where the trace is not."""
    chord = float((a[:3, :3] - b[:3, :3]).norm()) / math.sqrt(8)
    return math.degrees(2 * math.asin(min(chord, 1.0)))
