"""A camera's intrinsics on a grid, and its focal length from the points that a net sees."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.ops.running_median import RunningMedian
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor
from moonseg3r_core.types import PixelGrid

_STEPS = 10
_MAX_SLOPE = 1e3  # x / z of a usable ray; beyond it a point lies in the plane of the lens
_WINDOW = 31  # frames in the median
_MIN_FOCAL, _MAX_FOCAL = 0.1, 20.0  # focal lengths of real lenses, in long sides of the image
_DEFAULT_FOCAL = 0.5 / math.tan(math.radians(30))  # 60 degrees


def estimate_focal_length(points: Tensor) -> Tensor:
    """Estimate the focal length in pixels, one for both axes, () float32, from points (H, W, 3) in camera axes.

    It minimizes the distances of projected points to their own pixels, by ten of Weiszfeld's iterations, with the
    principal point at (W // 2, H // 2); docs/cut3r_facts.md, 8. Only finite points in front of the camera count; NaN
    without any.
    """
    height, width, _ = points.shape
    u = torch.arange(width, device=points.device, dtype=points.dtype) - width // 2
    v = torch.arange(height, device=points.device, dtype=points.dtype) - height // 2
    rays = points[..., :2] / points[..., 2:]
    usable = (points[..., 2] > 0) & points.isfinite().all(-1) & (rays.abs() < _MAX_SLOPE).all(-1)
    x, y = torch.where(usable[..., None], rays, 0.0).unbind(-1)
    product, square = x * u + y * v[:, None], x * x + y * y
    focal = product.sum() / square.sum()
    for _ in range(_STEPS):
        weight = 1 / torch.hypot(u - focal * x, v[:, None] - focal * y).clamp(min=1e-8)
        focal = (weight * product).sum() / (weight * square).sum()
    return focal


def scale_intrinsics(intrinsics: Tensor, factor: float) -> Tensor:
    """Scale intrinsics (..., 3, 3) to an image smaller by a factor; pixel i's center is u = i."""
    scaled = intrinsics.clone()
    scaled[..., :2, :] /= factor
    scaled[..., :2, 2] += (1 / factor - 1) / 2
    return scaled


class IntrinsicsEstimator:
    """Intrinsics of frames that bring none, by the running median of estimated focal lengths.

    The original takes each frame's own estimate. A camera's focal length is constant, and the memory projects with it.
    A grid of another size starts anew, because its camera may be another one.
    """

    def __init__(self) -> None:
        self._focal = RunningMedian(_WINDOW)
        self._size = (0, 0)

    def observe(self, points: Tensor) -> None:
        """Take one frame's points (H, W, 3) in camera axes; an implausible focal length is dropped."""
        focal, size = float(estimate_focal_length(points)), (points.shape[0], points.shape[1])
        if size != self._size:
            self._focal.reset()
            self._size = size
        if _MIN_FOCAL * max(size) < focal < _MAX_FOCAL * max(size):
            self._focal.add(focal)

    def estimate(self, grid: PixelGrid) -> Tensor:
        """Return (3, 3) float32 of a grid; 60 degrees along the long side before the first estimate."""
        known = len(self._focal) and self._size == (grid.height, grid.width)
        focal = self._focal.value if known else _DEFAULT_FOCAL * max(grid.height, grid.width)
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
    """Whether intrinsics (3, 3) are usable; ROS marks an uncalibrated camera with zeros."""
    k = intrinsics.cpu()
    return bool(k.isfinite().all() & (k[0, 0] > 0) & (k[1, 1] > 0))


def compute_grid_intrinsics(intrinsics: Tensor, grid: PixelGrid) -> Tensor:
    """Compute the grid's intrinsics from the image's (3, 3); the centre of pixel i is at i in both."""
    k = intrinsics.clone()
    k[0] /= grid.scale_u
    k[1] /= grid.scale_v
    k[0, 2] -= grid.offset_u / grid.scale_u
    k[1, 2] -= grid.offset_v / grid.scale_v
    return k


def assume_intrinsics(size: tuple[int, int], field_of_view: float) -> Tensor:
    """Assume (3, 3) float32 of an image of `size` (H, W) that shows `field_of_view` degrees along its longer side."""
    height, width = size
    focal = 0.5 * max(size) / math.tan(math.radians(field_of_view / 2))
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
