"""Accumulate the outputs of a reconstruction and the ground truth over the frames of a sequence."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.metrics.reconstruction import (
    align_poses,
    compute_depth_scale,
    measure_cloud_distances,
    thin_points,
)
from moonseg3r_core.evaluation.protocols.nearest import align_map
from moonseg3r_core.geometry import find_rigid_fault, invert, transform, unproject
from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.types import Frame, Geometry

VOXEL = 0.02  # metres, of both clouds
PIXELS = 1 << 14  # of a frame that are compared at most, about

Pair = tuple[np.ndarray, np.ndarray]


class Comparison:
    """The outputs of a reconstruction on a sequence, and the truth. It keeps no image, and about `PIXELS` points a frame.

    Points count where the recording has depth. A predicted depth is the z of a point in its frame's predicted camera.
    """

    def __init__(self) -> None:
        self.frames: list[int] = []  # numbers of the frames with truth
        self.posed: list[int] = []  # numbers of those with an estimated pose
        self.held = 0
        self.ms: list[float] = []
        self.coverage: list[float] = []
        self._estimated: list[Tensor] = []
        self._true: list[Tensor] = []
        self._depths: list[Pair] = []
        self._points: list[np.ndarray] = []
        self._true_points: list[np.ndarray] = []

    def add(self, frame: Frame, geometry: Geometry | None, ms: float) -> None:
        """Add a frame, its predicted geometry (None: rejected) and the time taken. A frame without truth is skipped."""
        truth = _compute_true_points(frame)
        if truth is None:
            return
        points, pose = truth
        self.frames.append(frame.index)
        sample = thin_pixels(points)
        self._true_points.append(thin_points(transform(sample[sample[..., 2] > 0], pose).numpy(), VOXEL))
        if geometry is None:
            self._add_coverage(sample[..., 2] > 0, torch.tensor(False))
            return
        self.posed.append(frame.index)
        self.held += bool(geometry.held)
        self.ms.append(ms)
        self._estimated.append(geometry.world_from_camera.cpu())
        self._true.append(pose)
        self._compare(geometry, thin_pixels(resample_to_grid(points[..., 2], geometry)))

    def _compare(self, geometry: Geometry, true: Tensor) -> None:
        """Add the points of a frame and its true depth (h, w), 0 = none, at the same pixels."""
        points = thin_pixels(geometry.points).cpu()
        predicted_at = thin_pixels(geometry.valid).cpu() & torch.isfinite(points).all(-1)
        self._add_coverage(true > 0, predicted_at)
        both = predicted_at & (true > 0)
        predicted = transform(points[both], invert(geometry.world_from_camera.cpu()))[:, 2]
        self._depths.append((predicted.double().numpy(), true[both].double().numpy()))
        self._points.append(points[both].numpy())

    def _add_coverage(self, measured: Tensor, predicted_at: Tensor) -> None:
        if bool(measured.any()):
            self.coverage.append(float((measured & predicted_at).sum() / measured.sum()))

    @cached_property
    def scale(self) -> float:
        """The scale of all predicted depths."""
        return compute_depth_scale(*join_pairs(self._depths))

    @cached_property
    def depths(self) -> list[Pair]:
        """Scaled predicted depths and true depths, both (n,), of each of the `posed` frames."""
        return [(self.scale * predicted, true) for predicted, true in self._depths]

    @cached_property
    def poses(self) -> tuple[Tensor, Tensor]:
        """Aligned and true poses (F, 4, 4) of the `posed` frames; none for fewer than three, which any similarity fits."""
        if len(self.posed) < 3:
            return torch.zeros(0, 4, 4, dtype=torch.float64), torch.zeros(0, 4, 4, dtype=torch.float64)
        true = torch.stack(self._true)
        return align_poses(torch.stack(self._estimated), true), true

    @cached_property
    def true_cloud(self) -> np.ndarray:
        """The true points (M, 3) of all frames with truth, rejected ones included."""
        return thin_points(np.concatenate(self._true_points), VOXEL)

    @cached_property
    def distances(self) -> Pair:
        """Accuracy and completeness of every point after alignment of the camera paths; none where that is ambiguous."""
        if not self.posed:
            return np.zeros(0), np.zeros(0)
        centres = (torch.stack(poses)[:, :3, 3] for poses in (self._estimated, self._true))
        try:
            predicted = align_map(np.concatenate(self._points), *centres)
        except InputError:
            return np.zeros(0), np.zeros(0)
        return measure_cloud_distances(thin_points(predicted, VOXEL), self.true_cloud)


def thin_pixels(pixels: Tensor) -> Tensor:
    """Take every n-th row and column of (H, W, ...), with the least n that leaves about `PIXELS` or fewer."""
    step = int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / PIXELS)))
    return pixels[step // 2 :: step, step // 2 :: step]


def join_pairs(pairs: list[Pair]) -> Pair:
    """Concatenate the first arrays of all pairs, and the second ones."""
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return np.concatenate([np.zeros(0), *first]), np.concatenate([np.zeros(0), *second])


def _compute_true_points(frame: Frame) -> tuple[Tensor, Tensor] | None:
    """Compute the points of all pixels in camera axes (H, W, 3), zero without depth, and the pose; None without truth."""
    depth, intrinsics, pose = frame.depth, frame.intrinsics, frame.world_from_camera
    if depth is None or intrinsics is None or pose is None or find_rigid_fault(pose):
        return None
    depth = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0).cpu()
    return unproject(depth, intrinsics.cpu()), pose.cpu()
