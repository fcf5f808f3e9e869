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
from moonseg3r_core.evaluation.view_pairs import View, ViewPairs
from moonseg3r_core.geometry import find_rigid_fault, invert, transform, unproject
from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.types import Corrections, Frame, Geometry, PixelGrid

VOXEL = 0.02  # metres, of both clouds
PIXELS = 1 << 14  # of a frame that are compared at most, about

Pair = tuple[np.ndarray, np.ndarray]


class Comparison:
    """The outputs of a reconstruction on a sequence, and the truth. It keeps no image, and about `PIXELS` points a frame.

    Points count where the recording has depth. A predicted depth is the z of a point in its frame's predicted camera.
    Corrections of key views move the cloud and the `corrected` poses; all else is compared as it was given out.
    """

    def __init__(self) -> None:
        self.frames: list[int] = []  # numbers of the frames with truth
        self.posed: list[int] = []  # numbers of those with an estimated pose
        self.tracked: list[bool] = []  # of the `posed` frames, whether they are not held
        self.pairs = ViewPairs()
        self.ms: list[float] = []
        self.coverage: list[float] = []
        self._estimated: list[Tensor] = []
        self._anchors: list[int] = []
        self._moves: list[Tensor] = []  # what carries each posed frame from where it was given out to its present place
        self._true: list[Tensor] = []
        self._depths: list[Pair] = []
        self._points: list[np.ndarray] = []
        self._true_points: list[np.ndarray] = []

    def add(self, frame: Frame, geometry: Geometry | None, ms: float) -> None:
        """Add a frame, its predicted geometry (None: rejected) and the time taken. A frame without truth is skipped."""
        self._correct(geometry.corrections if geometry else Corrections.empty())
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
        self.tracked.append(geometry.held is None)
        self.ms.append(ms)
        self._estimated.append(geometry.world_from_camera.cpu())
        self._true.append(pose)
        self._anchors.append(geometry.anchor)
        self._moves.append(torch.eye(4, dtype=torch.float64))
        true = thin_pixels(resample_to_grid(points, geometry))
        camera_points = self._compare(geometry, true[..., 2])
        if not geometry.held and frame.intrinsics is not None:
            k = _compute_thinned_intrinsics(frame.intrinsics.cpu(), geometry.grid)
            self.pairs.add(View(true, camera_points, k, pose, self._estimated[-1]))

    def _compare(self, geometry: Geometry, true: Tensor) -> Tensor:
        """Add the points of a frame and its true depth (h, w), 0 = none, at the same pixels.

        Returns the points there in the predicted camera's axes (h, w, 3), NaN for none.
        """
        points = thin_pixels(geometry.points).cpu()
        predicted_at = thin_pixels(geometry.valid).cpu() & torch.isfinite(points).all(-1)
        self._add_coverage(true > 0, predicted_at)
        both = predicted_at & (true > 0)
        camera_points = transform(points, invert(geometry.world_from_camera.cpu()))
        self._depths.append((camera_points[both][:, 2].double().numpy(), true[both].double().numpy()))
        self._points.append(points[both].numpy())
        return torch.where(predicted_at[..., None], camera_points, torch.nan)

    def _correct(self, corrections: Corrections) -> None:
        """Move the frames so far that hang on a key view that moved."""
        moved = dict(zip(corrections.anchors.tolist(), corrections.new_from_old.cpu(), strict=True))
        for row, anchor in enumerate(self._anchors):
            if anchor in moved:
                self._moves[row] = moved[anchor] @ self._moves[row]

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
    def corrected(self) -> Tensor:
        """The predicted poses (F, 4, 4) of the `posed` frames at the end, each where its key view has moved it."""
        poses = torch.stack(self._moves) @ torch.stack(self._estimated)
        poses[:, :3, :3] /= torch.linalg.det(poses[:, :3, :3]).pow(1 / 3)[:, None, None]  # a similarity scales them
        return poses

    @cached_property
    def tracked_poses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Poses (F, 4, 4) of the frames that are not held: as given out, as corrected, both aligned, and true ones."""
        rows = torch.tensor(self.tracked, dtype=torch.bool)
        if int(rows.sum()) < 3:
            return (torch.zeros(0, 4, 4, dtype=torch.float64),) * 3
        true = torch.stack(self._true)[rows]
        return align_poses(torch.stack(self._estimated)[rows], true), align_poses(self.corrected[rows], true), true

    @cached_property
    def true_cloud(self) -> np.ndarray:
        """The true points (M, 3) of all frames with truth, rejected ones included."""
        return thin_points(np.concatenate(self._true_points), VOXEL)

    @cached_property
    def distances(self) -> Pair:
        """Accuracy and completeness of every point after alignment of the camera paths; none where that is ambiguous."""
        if not self.posed:
            return np.zeros(0), np.zeros(0)
        moved = (transform(torch.from_numpy(p), m).numpy() for p, m in zip(self._points, self._moves, strict=True))
        try:
            predicted = align_map(np.concatenate([*moved]), self.corrected[:, :3, 3], torch.stack(self._true)[:, :3, 3])
        except InputError:
            return np.zeros(0), np.zeros(0)
        return measure_cloud_distances(thin_points(predicted, VOXEL), self.true_cloud)


def thin_pixels(pixels: Tensor) -> Tensor:
    """Take every n-th row and column of (H, W, ...), with the least n that leaves about `PIXELS` or fewer."""
    step = _choose_step(pixels.shape[0], pixels.shape[1])
    return pixels[step // 2 :: step, step // 2 :: step]


def _choose_step(height: int, width: int) -> int:
    return max(1, int(np.ceil(np.sqrt(height * width / PIXELS))))


def _compute_thinned_intrinsics(intrinsics: Tensor, grid: PixelGrid) -> Tensor:
    """Compute the image's intrinsics (3, 3) for the thinned pixels of a grid."""
    step = _choose_step(grid.height, grid.width)
    k = intrinsics.clone()
    for axis, scale, offset in ((0, grid.scale_u, grid.offset_u), (1, grid.scale_v, grid.offset_v)):
        k[axis, 2] = (k[axis, 2] - offset - step // 2 * scale) / (step * scale)
        k[axis, axis] /= step * scale
    return k


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
