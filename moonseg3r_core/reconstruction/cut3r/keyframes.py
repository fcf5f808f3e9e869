"""Selection of key frames: the frames that change the net's state. A standing camera changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle
from moonseg3r_core.reconstruction.image_check import shrink_to_gray
from moonseg3r_core.runtime.state import cpu_copy, read_tensor

_THUMBNAIL_SIDE = 64  # pixels: coarse enough to average noise away
_MIN_CHANGE = 2.0  # mean grey levels of 255; noise and flicker stay below, two degrees of rotation give four and more


class KeyframeSelector:
    """Counts key frames and keeps the last one's pose and thumbnail.

    A frame is due when the camera has moved from the last key frame by `translation` (share of the median depth) or
    rotated by `rotation` (degrees), and the image has changed. The image decides too, because an updated state moves
    the pose of a standing camera a little. With either limit at 0 every frame is due; the first always is.
    """

    def __init__(self, translation: float, rotation: float) -> None:
        self.translation, self.rotation = translation, rotation
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self._last: tuple[Tensor, Tensor] | None = None

    def is_due(self, pose: Tensor, depth: float, thumbnail: Tensor) -> bool:
        """Whether a frame at world_from_camera (4, 4) becomes a key frame; median depth in the units of the pose."""
        if self._last is None or min(self.translation, self.rotation) == 0:
            return True
        last, image = self._last
        shift = float((pose[:3, 3] - last[:3, 3]).norm())
        moved = shift >= self.translation * depth or compute_rotation_angle(pose, last) >= self.rotation
        if not moved or thumbnail.shape != image.shape:
            return moved
        return float((thumbnail.float() - image.float()).abs().mean()) >= _MIN_CHANGE

    def add(self, pose: Tensor, thumbnail: Tensor) -> None:
        """Count a key frame."""
        self._last, self.count = (pose, thumbnail), self.count + 1

    def state_dict(self) -> dict[str, Tensor]:
        pose, image = self._last or (torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.uint8))
        return {"pose": cpu_copy(pose), "view": cpu_copy(image), "count": torch.tensor([self.count])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pose = read_tensor(state, "pose", ("0 or 4", 4), torch.float64)
        image = read_tensor(state, "view", ("h", "w"), torch.uint8)
        self.count = int(read_tensor(state, "count", (1,)))
        self._last = (pose, image) if len(pose) else None


def make_thumbnail(image: np.ndarray) -> Tensor:
    """Shrink an image (H, W, 3) uint8 to gray (h, w) uint8 on the CPU, its long side 64 pixels."""
    return torch.from_numpy(shrink_to_gray(image, _THUMBNAIL_SIDE))
