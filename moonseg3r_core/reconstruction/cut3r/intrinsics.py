"""The camera as CUT3R sees it: pose from seven numbers, focal length from the points of the self head."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.geometry import rotation_from_quaternion
from moonseg3r_core.reconstruction.cut3r.running import RunningMedian
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor
from moonseg3r_core.types import PixelGrid

_STEPS = 10
_WIDEST = 1e3  # x / z of a usable ray; beyond it a point lies in the plane of the lens
_FOCAL_LENGTHS = 31  # kept for the median
_LEAST, _MOST = 0.1, 20.0  # focal lengths that a lens has, in long sides of the image
_DEFAULT = 0.5 / math.tan(math.radians(30))  # 60 degrees, where no point tells


def make_pose_matrix(pose: Tensor) -> Tensor:
    """Pose (7,) tx ty tz qw qx qy qz, camera to world, as a rigid (4, 4) float64 matrix."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation_from_quaternion(pose[[4, 5, 6, 3]].double())
    matrix[:3, 3] = pose[:3].double()
    return matrix


def estimate_focal_length(points: Tensor) -> Tensor:
    """Focal length in pixels, one for both axes, () float32, of points (H, W, 3) in the camera's axes.

    The length that brings every point nearest to its own pixel, by Weiszfeld's iteration (ten steps), principal point
    (W // 2, H // 2); docs/cut3r_facts.md, 8. Points that are not finite or not in front of the camera do not count; NaN when
    none does.
    """
    height, width, _ = points.shape
    u = torch.arange(width, device=points.device, dtype=points.dtype) - width // 2
    v = torch.arange(height, device=points.device, dtype=points.dtype) - height // 2
    rays = points[..., :2] / points[..., 2:]
    seen = (points[..., 2] > 0) & points.isfinite().all(-1) & (rays.abs() < _WIDEST).all(-1)
    x, y = torch.where(seen[..., None], rays, 0.0).unbind(-1)
    along, square = x * u + y * v[:, None], x * x + y * y
    focal = along.sum() / square.sum()
    for _ in range(_STEPS):
        weight = 1 / torch.hypot(u - focal * x, v[:, None] - focal * y).clamp(min=1e-8)
        focal = (weight * along).sum() / (weight * square).sum()
    return focal


class IntrinsicsEstimator:
    """The intrinsics of frames that bring none: the running median of the focal lengths, so that they do not flicker.

    The original takes each frame's own. A camera's focal length is constant, its estimates are not, and what the
    memory recalls is projected with it. A grid of another size starts anew: its camera may be another.
    """

    def __init__(self) -> None:
        self._focal = RunningMedian(_FOCAL_LENGTHS)
        self._size = (0, 0)

    def observe(self, points: Tensor) -> None:
        """One frame's points (H, W, 3) in the camera's axes; a focal length that no lens has is left out."""
        focal, size = float(estimate_focal_length(points)), (points.shape[0], points.shape[1])
        if size != self._size:
            self._focal.reset()
            self._size = size
        if _LEAST * max(size) < focal < _MOST * max(size):
            self._focal.add(focal)

    def intrinsics(self, grid: PixelGrid) -> Tensor:
        """(3, 3) float32 of a grid; 60 degrees along the long side as long as nothing is known."""
        known = len(self._focal) and self._size == (grid.height, grid.width)
        focal = self._focal.value if known else _DEFAULT * max(grid.height, grid.width)
        return torch.tensor([[focal, 0, grid.width // 2], [0, focal, grid.height // 2], [0, 0, 1]])

    def reset(self) -> None:
        self._focal.reset()
        self._size = (0, 0)

    def state_dict(self) -> dict[str, Tensor]:
        return prefix_states(focal=self._focal.state_dict()) | {"size": torch.tensor(self._size)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        height, width = read_tensor(state, "size", (2,)).tolist()
        load_parts(state, focal=self._focal)
        self._size = (height, width)


def is_calibrated(intrinsics: Tensor) -> bool:
    """Whether these intrinsics (3, 3) can be used: ROS says with zeros that a camera is not calibrated."""
    k = intrinsics.cpu()
    return bool(k.isfinite().all() & (k[0, 0] > 0) & (k[1, 1] > 0))
