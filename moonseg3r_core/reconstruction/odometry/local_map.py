"""Landmarks: points that several key views saw, where bundle adjustment puts them, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.odometry.bundle_adjustment import (
    SIGMA_LOG_DEPTH,
    Bundle,
    compute_relative_sigma,
    optimize_robust,
)
from moonseg3r_core.reconstruction.odometry.features import DESCRIPTOR_SIZE, Features
from moonseg3r_core.runtime.state import read_tensor

NO_LANDMARK = -1  # of a feature: no landmark
_WINDOW, _HOLDING = 8, 8  # views that are adjusted at a time, and views that hold them where they are
_VIEWS = 400  # kept at most; then the older quarter goes


def no_pairs() -> np.ndarray:
    """Pairs (0, 2) of landmarks."""
    return np.zeros((0, 2), int)


@dataclass(frozen=True)
class Keyframe:
    """A picture in the map: camera_from_world (4, 4), its features and the landmark of each (n,) int64, NONE or a row of
    the map's, none twice; and pairs (k, 2) of landmarks that it shows to be the same, of which the second is kept.
    """

    camera: np.ndarray
    features: Features
    landmarks: np.ndarray
    same: np.ndarray = field(default_factory=no_pairs)

    @property
    def pose(self) -> np.ndarray:
        """world_from_camera (4, 4)."""
        return np.linalg.inv(self.camera)


class LocalMap:
    """Key views, in their order, and landmarks: points (p, 3) in the world, and spreads (p,), how far each may be off as a
    share of its distance.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.views: list[Keyframe] = []
        self.points, self.spreads = np.zeros((0, 3)), np.zeros(0)

    def depths(self, camera: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Depth (n,) of landmarks before a camera, camera_from_world (4, 4)."""
        return self.points[landmarks] @ camera[2, :3] + camera[2, 3]

    def keep(self, view: Keyframe) -> Keyframe:
        """Take a view up, its features without a landmark as new ones at the net's depth; all views that share landmarks
        with it are adjusted. Gives the view as it is then.
        """
        self._merge(view.same)
        new = np.flatnonzero(view.landmarks == NO_LANDMARK)
        marks = view.landmarks.copy()
        marks[new] = len(self.points) + np.arange(len(new))
        own = np.column_stack((view.features.rays[new], np.ones(len(new)))) * view.features.depths[new, None]
        self.points = np.concatenate((self.points, _carried(own, view.camera)))
        self.spreads = np.concatenate((self.spreads, np.full(len(new), SIGMA_LOG_DEPTH)))
        if len(self.views) == _VIEWS:
            marks = self._forget(_VIEWS // 4, marks)
        self.views.append(replace(view, landmarks=marks, same=no_pairs()))
        self._adjust()
        return self.views[-1]

    def _merge(self, same: np.ndarray) -> None:
        """Of each pair of landmarks (k, 2) the second takes over the first one's sights, one in each view."""
        rows = np.arange(len(self.points) + 1)
        rows[same[:, 0]], rows[NO_LANDMARK] = same[:, 1], NO_LANDMARK
        for number, view in enumerate(self.views if len(same) else ()):
            landmarks = rows[view.landmarks]
            own_first = np.argsort(landmarks != view.landmarks, kind="stable")
            again = np.ones(len(landmarks), bool)
            again[own_first[np.unique(landmarks[own_first], return_index=True)[1]]] = False
            self.views[number] = replace(view, landmarks=np.where(again, NO_LANDMARK, landmarks))

    def _adjust(self) -> None:
        """The newest view and those that share most landmarks with it, adjusted; sights that stray are given up."""
        free, holding = self._window()
        chosen = [*free, *holding]
        views = [self.views[i] for i in chosen]
        marks = np.concatenate([view.landmarks for view in views])
        camera = np.repeat(np.arange(len(views)), [len(view.landmarks) for view in views])
        row = np.concatenate([np.arange(len(view.landmarks)) for view in views])
        sights = np.flatnonzero(marks != NO_LANDMARK)
        times = np.bincount(marks[sights], minlength=len(self.points))
        moving = np.bincount(marks[sights[camera[sights] < len(free)]], minlength=len(self.points))
        sights = sights[(times[marks[sights]] > 1) & (moving[marks[sights]] > 0)]
        shared, point = np.unique(marks[sights], return_inverse=True)
        if not len(shared):
            return
        may_move = np.arange(len(views)) < len(free)
        if not holding:
            may_move[int(np.argmin(chosen))] = False  # the oldest stands where it is
        features = [view.features for view in views]
        bundle, astray = optimize_robust(
            Bundle(
                np.stack([view.camera for view in views]),
                may_move,
                self.points[shared],
                camera[sights],
                point,
                np.concatenate([f.rays for f in features])[sights],
                np.concatenate([f.depths for f in features])[sights],
                np.array([f.focal for f in features])[camera[sights]],
            )
        )
        alone = (
            np.bincount(np.concatenate([v.landmarks for v in self.views]) + 1, minlength=len(self.points) + 1)[1:] == 1
        )
        for number, (index, view) in enumerate(zip(chosen, views, strict=True)):
            landmarks = view.landmarks.copy()
            landmarks[row[sights[astray & (camera[sights] == number)]]] = NO_LANDMARK
            new = replace(view, camera=bundle.cameras[number], landmarks=landmarks)
            own = view.landmarks[view.landmarks != NO_LANDMARK]
            self._carry(own[alone[own]], view, new)
            self.views[index] = new
        self.points[shared], self.spreads[shared] = (
            bundle.points,
            np.minimum(compute_relative_sigma(bundle), SIGMA_LOG_DEPTH),
        )

    def _window(self) -> tuple[list[int], list[int]]:
        """Views to adjust, the newest first and those that share most landmarks with it; and others that share most with any
        of these, to hold them.
        """
        newest = len(self.views) - 1
        free = [newest, *self._sharing([newest])[: _WINDOW - 1]]
        return free, self._sharing(free)[:_HOLDING]

    def _sharing(self, some: Sequence[int]) -> list[int]:
        """Other views by how many of the landmarks of some they see, the most first."""
        theirs = np.zeros(len(self.points) + 1, bool)
        theirs[np.concatenate([self.views[i].landmarks for i in some])] = True
        theirs[NO_LANDMARK] = False
        shared = np.array([0 if i in some else theirs[v.landmarks].sum() for i, v in enumerate(self.views)])
        return [int(i) for i in np.argsort(-shared, kind="stable") if shared[i]]

    def _carry(self, landmarks: np.ndarray, old: Keyframe, new: Keyframe) -> None:
        """Landmarks that one view alone saw go where it goes."""
        own = self.points[landmarks] @ old.camera[:3, :3].T + old.camera[:3, 3]
        self.points[landmarks] = _carried(own, new.camera)

    def _forget(self, count: int, marks: np.ndarray) -> np.ndarray:
        """Without the first views and what they alone saw. Gives a newest view's landmarks (n,) by their new rows."""
        self.views = self.views[count:]
        used = np.unique(np.concatenate([marks, *(view.landmarks for view in self.views)]))
        used = used[used != NO_LANDMARK]
        rows = np.full(len(self.points) + 1, NO_LANDMARK)  # the last one is NONE's own
        rows[used] = np.arange(len(used))
        self.points, self.spreads = self.points[used], self.spreads[used]
        self.views = [replace(view, landmarks=rows[view.landmarks]) for view in self.views]
        return rows[marks]

    def state_dict(self) -> dict[str, Tensor]:
        """The views one after the other, and the landmarks."""
        features = [view.features for view in self.views]
        return {
            "cameras": _stack([view.camera for view in self.views], (4, 4)),
            "focal": torch.tensor([f.focal for f in features], dtype=torch.float64),
            "counts": torch.tensor([len(f.rays) for f in features], dtype=torch.int64),
            "rays": _join([f.rays for f in features], np.zeros((0, 2))),
            "descriptors": _join([f.descriptors for f in features], np.zeros((0, DESCRIPTOR_SIZE), np.uint8)),
            "depths": _join([f.depths for f in features], np.zeros(0)),
            "landmarks": _join([view.landmarks for view in self.views], np.zeros(0, np.int64)),
            "points": torch.from_numpy(self.points.copy()),
            "spreads": torch.from_numpy(self.spreads.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave. Raises InputError for what is not whole."""
        cameras = read_tensor(state, "cameras", ("views", 4, 4), torch.float64).numpy()
        count = (len(cameras),)
        focal = read_tensor(state, "focal", count, torch.float64).tolist()
        ends = np.cumsum([0, *read_tensor(state, "counts", count).clamp(min=0).tolist()])
        seen = int(ends[-1])
        rays = read_tensor(state, "rays", (seen, 2), torch.float64).numpy()
        descriptors = read_tensor(state, "descriptors", (seen, DESCRIPTOR_SIZE), torch.uint8).numpy()
        depths = read_tensor(state, "depths", (seen,), torch.float64).numpy()
        points = read_tensor(state, "points", ("landmarks", 3), torch.float64).numpy()
        spreads = read_tensor(state, "spreads", (len(points),), torch.float64).numpy()
        landmarks = read_tensor(state, "landmarks", (seen,)).numpy()
        if seen and not (landmarks.min() >= NO_LANDMARK and landmarks.max() < len(points)):
            raise InputError(
                f"landmarks must be {NO_LANDMARK} or rows of the {len(points)} points, got {landmarks.min()} to "
                f"{landmarks.max()}; save it again with state_dict."
            )
        parts = [slice(a, b) for a, b in pairwise(ends)]
        self.views = [
            Keyframe(camera, Features(rays[p], descriptors[p], depths[p], f), landmarks[p])
            for camera, f, p in zip(cameras, focal, parts, strict=True)
        ]
        self.points, self.spreads = points.copy(), spreads.copy()


def _carried(own: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Points (n, 3) in a camera's axes as points of the world; camera_from_world (4, 4)."""
    return (own - camera[:3, 3]) @ camera[:3, :3]


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, *shape, dtype=torch.float64)


def _join(arrays: Sequence[np.ndarray], empty: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([empty, *arrays]))
