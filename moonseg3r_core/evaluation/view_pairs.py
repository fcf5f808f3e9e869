"""Compare a reconstruction between pairs of views a short baseline apart: relative poses, and depth of the same surface."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle, invert, project, transform

MIN_BASELINE, MAX_BASELINE = 0.1, 0.3  # shares of the later view's median depth: 0.25 m to 0.75 m in a room
MIN_OVERLAP = 0.2  # share of the later view's measured pixels that the earlier view sees too
MAX_LOG_RATIO = log(1.05)  # of a surface's true depths: beyond it the earlier view sees another surface there
VIEWS = 64  # among which a view finds its partner
PIXELS = 1000  # of a pair that are compared at most, about


@dataclass(frozen=True)
class View:
    """A placed frame: camera points of its pixels, true (h, w, 3), z = 0 for none, and predicted (h, w, 3), NaN for none;
    true intrinsics (3, 3) of these pixels; true and predicted world_from_camera (4, 4) float64.
    """

    true: Tensor
    predicted: Tensor
    intrinsics: Tensor
    true_pose: Tensor
    pose: Tensor


@dataclass(frozen=True)
class ViewPair:
    """Two views: earlier_from_later (4, 4), true and predicted; and of pixels (n,) that show the same surface, the
    predicted depth in the earlier view, the predicted depth of the later view turned into its axes, and the log of the
    same ratio of true depths.
    """

    true_motion: Tensor
    motion: Tensor
    depths: Tensor
    turned: Tensor
    true_logs: Tensor

    def compute_log_ratios(self, scale: float) -> np.ndarray:
        """Compute log ratios (n,) of the later view's depth, scaled and warped by the true motion, to the earlier view's.

        The true depths' own ratio, which noise and sampling keep from 1, is taken off.
        """
        warped = scale * self.turned + float(self.true_motion[2, 3])
        return (torch.log(warped.clamp(min=1e-9) / (scale * self.depths)) - self.true_logs).numpy()


class ViewPairs:
    """Pairs of each view with the last earlier one that is far enough from it, near enough, and overlaps."""

    def __init__(self) -> None:
        self.pairs: list[ViewPair] = []
        self._views: deque[View] = deque(maxlen=VIEWS)

    def add(self, view: View) -> None:
        """Add a view, the frames being in their order."""
        measured = view.true[..., 2][view.true[..., 2] > 0]
        if len(measured):
            pair = self._pair(view, float(measured.median()))
            self.pairs += [pair] if pair else []
            self._views.append(view)

    def _pair(self, view: View, depth: float) -> ViewPair | None:
        for earlier in reversed(self._views):
            baseline = float((view.true_pose[:3, 3] - earlier.true_pose[:3, 3]).norm())
            if baseline >= MIN_BASELINE * depth:
                return compare_views(view, earlier) if baseline <= MAX_BASELINE * depth else None
        return None

    def compute_pose_errors(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the degrees, and the translation as share of the baseline, by which each pair's motion is wrong, (p,) both.

        All translations are multiplied by one scale, the median of true / predicted baseline.
        """
        moved = [pair for pair in self.pairs if float(pair.motion[:3, 3].norm()) > 0]
        scale = float(np.median([_measure(p.true_motion) / _measure(p.motion) for p in moved])) if moved else 0.0
        return (
            np.array([compute_rotation_angle(p.motion, p.true_motion) for p in self.pairs]),
            np.array([self._measure_shift(p, scale) / _measure(p.true_motion) for p in self.pairs]),
        )

    @staticmethod
    def _measure_shift(pair: ViewPair, scale: float) -> float:
        return float((scale * pair.motion[:3, 3] - pair.true_motion[:3, 3]).norm())

    def compute_disagreements(self, scale: float) -> np.ndarray:
        """Compute |log ratio| (n,) of both depths of the same surface over all pairs, all depths times `scale`."""
        return np.concatenate([np.zeros(0), *(np.abs(pair.compute_log_ratios(scale)) for pair in self.pairs)])


def compare_views(later: View, earlier: View) -> ViewPair | None:
    """Compare pixels of the later view with where the truth sees their points in the earlier view; None without overlap."""
    true_motion = invert(earlier.true_pose) @ later.true_pose
    true, predicted = (points.reshape(-1, 3) for points in _thin(later.true, later.predicted))
    measured = true[:, 2] > 0
    rows, seen_at = _find_visible(transform(true, true_motion), earlier)
    expected, seen = transform(true[rows], true_motion)[:, 2], earlier.true[seen_at][:, 2]
    same = measured[rows] & (seen > 0) & (torch.log(expected / seen.clamp(min=1e-9)).abs() < MAX_LOG_RATIO)
    if int(same.sum()) < MIN_OVERLAP * int(measured.sum()):
        return None
    there, here = earlier.predicted[seen_at][:, 2], predicted[rows]
    both = same & (there > 0) & here.isfinite().all(-1)
    turned = here[both] @ true_motion[2, :3].to(here)
    true_logs = torch.log(expected[both] / seen[both])
    return ViewPair(true_motion, invert(earlier.pose) @ later.pose, there[both], turned, true_logs)


def _find_visible(points: Tensor, view: View) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Find the points (n, 3), in a view's axes, that fall into its picture: their rows, and the pixels' rows and columns."""
    height, width = view.true.shape[:2]
    pixels = torch.nan_to_num(project(points, view.intrinsics)[0], nan=-1.0).round()
    u, v = pixels.unbind(-1)
    rows = torch.nonzero((u >= 0) & (u < width) & (v >= 0) & (v < height)).flatten()
    return rows, (v[rows].long(), u[rows].long())


def _thin(*pixels: Tensor) -> Iterator[Tensor]:
    """Take every n-th row and column of each (h, w, 3), with the least n that leaves about `PIXELS` or fewer."""
    step = max(1, ceil(sqrt(pixels[0].shape[0] * pixels[0].shape[1] / PIXELS)))
    return (each[step // 2 :: step, step // 2 :: step] for each in pixels)


def _measure(motion: Tensor) -> float:
    return float(motion[:3, 3].norm())
