"""Past views of a stream: their features, where their cameras stand now, and the choice of those that help a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.geometry import compute_rotation_angle
from moonseg3r_core.runtime.state import cpu_copy, read_tensor

MAX_VIEWS = 96  # beyond them the oldest is removed
KEEP_SHIFT, KEEP_DEG = 0.02, 1.5  # share of the typical depth, degrees: from there on a view is kept
BEST_BASELINE = 0.1  # of the typical depth: Gallup et al., "Variable baseline/resolution stereo" (2008)
MAX_BASELINE, MAX_DEG = 0.5, 35.0
APART = 0.3  # of a chosen source's baseline: others stand at least this far from it, where there are any


@dataclass(frozen=True)
class PastView:
    """matched (C, h, w) and matched_fine (C', 2 h, 2 w) float16 features; pose world_from_camera (4, 4) float64, as it
    was when it hung on `anchor` at anchor_pose (4, 4).
    """

    matched: Tensor
    matched_fine: Tensor
    pose: Tensor
    anchor: int
    anchor_pose: Tensor


class PastViews:
    """The latest views, none of them nearly where the one before was."""

    def __init__(self) -> None:
        self._views: list[PastView] = []

    def __len__(self) -> int:
        return len(self._views)

    def reset(self) -> None:
        """Forget all views."""
        self._views = []

    def add(self, view: PastView, typical: float) -> None:
        """Add a view, unless the last one is nearly where it is; typical: its typical depth."""
        if self._views:
            last = self._views[-1].pose
            shift = float((view.pose[:3, 3] - last[:3, 3]).norm())
            if shift < KEEP_SHIFT * typical and compute_rotation_angle(view.pose, last) < KEEP_DEG:
                return
        self._views = [*self._views[-(MAX_VIEWS - 1) :], view]

    def correct(self, anchor_poses: Mapping[int, Tensor]) -> None:
        """Move the views whose anchor stands elsewhere now; anchor_poses: world_from_camera (4, 4) by anchor."""
        self._views = [_correct(view, anchor_poses.get(view.anchor)) for view in self._views]

    @property
    def anchors(self) -> set[int]:
        """The anchors that views hang on."""
        return {view.anchor for view in self._views}

    def choose(self, pose: Tensor, typical: float, count: int, size: tuple[int, ...]) -> list[PastView]:
        """Choose up to `count` sources for a view at world_from_camera (4, 4): near the best baseline, apart from one
        another, looking the same way, with features of size (h, w).
        """
        fitting = [view for view in self._views if view.matched.shape[1:] == size]
        if not fitting:
            return []
        poses = torch.stack([view.pose for view in fitting])
        shifts = (poses[:, :3, 3] - pose[:3, 3]) / typical
        baselines = shifts.norm(dim=1)
        cosines = poses[:, :3, 2] @ pose[:3, 2]
        possible = (baselines < MAX_BASELINE) & (cosines > torch.cos(torch.deg2rad(torch.tensor(MAX_DEG))))
        costs = ((baselines + 0.01) / BEST_BASELINE).log().abs() + 2 * (1 - cosines)
        costs[~possible] = torch.inf
        return [fitting[row] for row in _pick_apart(costs, shifts, baselines, count)]

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all views; those of another size than the last one's are left out."""
        views = [view for view in self._views if view.matched.shape == self._views[-1].matched.shape]
        if not views:
            features, poses = torch.zeros(0, 0, 0, 0, dtype=torch.float16), torch.zeros(0, 4, 4, dtype=torch.float64)
            return {
                "features": features, "fine_features": features.clone(), "anchors": torch.zeros(0, dtype=torch.int64),
                "poses": poses, "anchor_poses": poses.clone(),
            }  # fmt: skip
        return {
            "features": torch.stack([cpu_copy(view.matched) for view in views]),
            "fine_features": torch.stack([cpu_copy(view.matched_fine) for view in views]),
            "anchors": torch.tensor([view.anchor for view in views]),
            "poses": torch.stack([view.pose for view in views]),
            "anchor_poses": torch.stack([view.anchor_pose for view in views]),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; views of an older net, which had no fine features, are forgotten.

        Raises InputError for an incomplete state.
        """
        if "fine_features" not in state:
            return self.reset()
        features = read_tensor(state, "features", ("views", "C", "h", "w"), torch.float16)
        count = len(features)
        size = tuple(2 * side for side in features.shape[2:])
        fine = read_tensor(state, "fine_features", (count, "C", *size), torch.float16)
        anchors = read_tensor(state, "anchors", (count,))
        poses, anchor_poses = (read_tensor(state, n, (count, 4, 4), torch.float64) for n in ("poses", "anchor_poses"))
        if not (poses.isfinite().all() and anchor_poses.isfinite().all()):
            raise InputError("poses of past views must be finite, got some that are not; save the state again.")
        rows = zip(features, fine, poses, anchors.tolist(), anchor_poses, strict=True)
        self._views = [PastView(*row) for row in rows]


def _correct(view: PastView, now: Tensor | None) -> PastView:
    if now is None or torch.equal(now, view.anchor_pose):
        return view
    pose = now @ torch.linalg.inv(view.anchor_pose) @ view.pose
    return replace(view, pose=pose, anchor_pose=now)


def _pick_apart(costs: Tensor, shifts: Tensor, baselines: Tensor, count: int) -> list[int]:
    """Pick the rows of least cost one after the other; those near a picked one come last. Infinite costs never."""
    costs, picked = costs.clone(), []
    for _ in range(min(count, int(costs.isfinite().sum()))):
        row = int(costs.argmin())
        picked.append(row)
        near = (shifts - shifts[row]).norm(dim=1) < APART * baselines[row]
        costs[near] += 3.0
        costs[row] = torch.inf
    return picked
