"""The answers of a reconstruction beside the truth, gathered frame by frame, then brought together."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.metrics.reconstruction import aligned, cloud_distances, depth_scale, thinned
from moonseg3r_core.evaluation.protocols.nearest import align_map
from moonseg3r_core.geometry import find_rigid_fault, invert, transform, unproject
from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.types import Frame, Geometry

VOXEL = 0.02  # metres: both clouds are thinned to it
PIXELS = 1 << 14  # a frame with more is compared at every n-th row and column

Pair = tuple[np.ndarray, np.ndarray]


class Comparison:
    """What a reconstruction said of a sequence. No image is kept, and of a frame `PIXELS` points at most.

    Points count where the recording measured depth. A predicted depth is the z of a point in the axes of its frame's own
    predicted camera.
    """

    def __init__(self) -> None:
        self.frames: list[int] = []  # the numbers of the frames with truth
        self.posed: list[int] = []  # of those that have an estimated pose
        self.held = 0
        self.ms: list[float] = []
        self.coverage: list[float] = []
        self._estimated: list[Tensor] = []
        self._true: list[Tensor] = []
        self._depths: list[Pair] = []
        self._points: list[np.ndarray] = []
        self._true_points: list[np.ndarray] = []

    def add(self, frame: Frame, geometry: Geometry | None, ms: float) -> None:
        """One frame, what was said of it (None: rejected) and the time that took. One without truth is passed over."""
        truth = _truth(frame)
        if truth is None:
            return
        seen, pose = truth
        self.frames.append(frame.index)
        every = sparse(seen)
        self._true_points.append(thinned(transform(every[every[..., 2] > 0], pose).numpy(), VOXEL))
        if geometry is None:
            self._cover(every[..., 2] > 0, torch.tensor(False))
            return
        self.posed.append(frame.index)
        self.held += bool(geometry.held)
        self.ms.append(ms)
        self._estimated.append(geometry.world_from_camera.cpu())
        self._true.append(pose)
        self._compare(geometry, sparse(resample_to_grid(seen[..., 2], geometry)))

    def _compare(self, geometry: Geometry, true: Tensor) -> None:
        """The points of a frame with its true depth (h, w), 0 = none, at the same pixels."""
        points = sparse(geometry.points).cpu()
        there = sparse(geometry.valid).cpu() & torch.isfinite(points).all(-1)
        self._cover(true > 0, there)
        both = there & (true > 0)
        predicted = transform(points[both], invert(geometry.world_from_camera.cpu()))[:, 2]
        self._depths.append((predicted.double().numpy(), true[both].double().numpy()))
        self._points.append(points[both].numpy())

    def _cover(self, measured: Tensor, there: Tensor) -> None:
        if bool(measured.any()):
            self.coverage.append(float((measured & there).sum() / measured.sum()))

    @cached_property
    def scale(self) -> float:
        """The one scale of all depths."""
        return depth_scale(*joined(self._depths))

    @cached_property
    def depths(self) -> list[Pair]:
        """Predicted depths after the one scale, and true ones, (n,) both, of each of the `posed` frames."""
        return [(self.scale * predicted, true) for predicted, true in self._depths]

    @cached_property
    def poses(self) -> tuple[Tensor, Tensor]:
        """Aligned and true poses (F, 4, 4) of the `posed` frames; none where these are fewer than three, which fit anyhow."""
        if len(self.posed) < 3:
            return torch.zeros(0, 4, 4, dtype=torch.float64), torch.zeros(0, 4, 4, dtype=torch.float64)
        true = torch.stack(self._true)
        return aligned(torch.stack(self._estimated), true), true

    @cached_property
    def true_cloud(self) -> np.ndarray:
        """(M, 3): what all frames with truth saw, whether or not the reconstruction took them."""
        return thinned(np.concatenate(self._true_points), VOXEL)

    @cached_property
    def distances(self) -> Pair:
        """Accuracy and completeness of every point, the predicted cloud aligned by the camera's path; none where that
        leaves its place open.
        """
        if not self.posed:
            return np.zeros(0), np.zeros(0)
        centres = (torch.stack(poses)[:, :3, 3] for poses in (self._estimated, self._true))
        try:
            predicted = align_map(np.concatenate(self._points), *centres)
        except InputError:
            return np.zeros(0), np.zeros(0)
        return cloud_distances(thinned(predicted, VOXEL), self.true_cloud)


def sparse(pixels: Tensor) -> Tensor:
    """Every n-th row and column of (H, W, ...), with the least n that leaves about `PIXELS` or fewer."""
    step = int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / PIXELS)))
    return pixels[step // 2 :: step, step // 2 :: step]


def joined(pairs: list[Pair]) -> Pair:
    """The first arrays of all pairs as one, and the second."""
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return np.concatenate([np.zeros(0), *first]), np.concatenate([np.zeros(0), *second])


def _truth(frame: Frame) -> tuple[Tensor, Tensor] | None:
    """What every pixel sees in camera axes (H, W, 3), zero where there is no depth, and the pose; None without truth."""
    depth, intrinsics, pose = frame.depth, frame.intrinsics, frame.world_from_camera
    if depth is None or intrinsics is None or pose is None or find_rigid_fault(pose):
        return None
    depth = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0).cpu()
    return unproject(depth, intrinsics.cpu()), pose.cpu()
