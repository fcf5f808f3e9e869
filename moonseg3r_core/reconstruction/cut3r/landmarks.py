"""Landmarks: points that several key views saw, where bundle adjustment puts them, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.bundle import DEPTH, Bundle, adjusted, doubts, strays
from moonseg3r_core.reconstruction.cut3r.features import LENGTH, Features
from moonseg3r_core.state import take

NONE = -1  # of a feature: no landmark
_WINDOW, _HOLDING = 8, 8  # views that are adjusted at a time, and views that hold them where they are
_VIEWS = 400  # kept at most; then the older quarter goes


@dataclass(frozen=True)
class View:
    """A picture in the map: camera_from_world (4, 4), the log of its unit (the map's per unit of the net's depth), its
    features and the landmark of each (n,) int64, NONE or a row of the map's, none twice.
    """

    camera: np.ndarray
    unit: float
    features: Features
    landmarks: np.ndarray

    @property
    def pose(self) -> np.ndarray:
        """world_from_camera (4, 4)."""
        return np.linalg.inv(self.camera)


class LandmarkMap:
    """Key views, in their order, and landmarks: points (p, 3) in the world, and spreads (p,), how far each may be off as a
    share of its distance.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.views: list[View] = []
        self.points, self.spreads = np.zeros((0, 3)), np.zeros(0)

    def depths(self, camera: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Depth (n,) of landmarks before a camera, camera_from_world (4, 4)."""
        return self.points[landmarks] @ camera[2, :3] + camera[2, 3]

    def keep(self, view: View) -> View:
        """Take a view up, its features without a landmark as new ones at the net's depth; all views that share landmarks
        with it are adjusted. Gives the view as it is then.
        """
        new = np.flatnonzero(view.landmarks == NONE)
        marks = view.landmarks.copy()
        marks[new] = len(self.points) + np.arange(len(new))
        depth = view.features.depths[new] * np.exp(view.unit)
        own = np.column_stack((view.features.rays[new], np.ones(len(new)))) * depth[:, None]
        self.points = np.concatenate((self.points, _carried(own, view.camera)))
        self.spreads = np.concatenate((self.spreads, np.full(len(new), DEPTH)))
        if len(self.views) == _VIEWS:
            marks = self._forget(_VIEWS // 4, marks)
        self.views.append(replace(view, landmarks=marks))
        self._adjust()
        return self.views[-1]

    def _adjust(self) -> None:
        """The newest view and those that share most landmarks with it, adjusted; sights that stray are given up."""
        free, holding = self._window()
        chosen = [*free, *holding]
        views = [self.views[i] for i in chosen]
        marks = np.concatenate([view.landmarks for view in views])
        camera = np.repeat(np.arange(len(views)), [len(view.landmarks) for view in views])
        row = np.concatenate([np.arange(len(view.landmarks)) for view in views])
        sights = np.flatnonzero(marks != NONE)
        times = np.bincount(marks[sights], minlength=len(self.points))
        moving = np.bincount(marks[sights[camera[sights] < len(free)]], minlength=len(self.points))
        sights = sights[(times[marks[sights]] > 1) & (moving[marks[sights]] > 0)]
        shared, point = np.unique(marks[sights], return_inverse=True)
        if not len(shared):
            return
        loose = np.zeros((len(views), 7), bool)
        loose[: len(free)] = True
        if not holding:
            loose[int(np.argmin(chosen)), :6] = False  # the oldest stands where it is; its unit may change
        features = [view.features for view in views]
        before = Bundle(
            np.stack([view.camera for view in views]),
            np.array([view.unit for view in views]),
            loose,
            self.points[shared],
            camera[sights],
            point,
            np.concatenate([f.rays for f in features])[sights],
            np.concatenate([f.depths for f in features])[sights],
            np.array([f.focal for f in features])[camera[sights]],
        )
        after = adjusted(before)
        astray = sights[strays(after)]
        for number, index in enumerate(chosen):
            landmarks = self.views[index].landmarks.copy()
            landmarks[row[astray[camera[astray] == number]]] = NONE
            alone = landmarks[(landmarks != NONE) & (times[landmarks] == 1)]
            if number < len(free):
                moved = replace(self.views[index], camera=after.cameras[number], unit=float(after.units[number]))
                self._carry(alone, self.views[index], moved)
                self.views[index] = moved
            self.views[index] = replace(self.views[index], landmarks=landmarks)
        self.points[shared], self.spreads[shared] = after.points, np.minimum(doubts(after), DEPTH)

    def _window(self) -> tuple[list[int], list[int]]:
        """Views to adjust, the newest first, and others that hold them, by how many landmarks they share with it."""
        newest = np.zeros(len(self.points), bool)
        newest[self.views[-1].landmarks] = True
        shared = np.array([newest[v.landmarks[v.landmarks != NONE]].sum() for v in self.views[:-1]], int)
        order = [int(i) for i in np.argsort(-shared, kind="stable") if shared[i] > 0]
        return [len(self.views) - 1, *order[: _WINDOW - 1]], order[_WINDOW - 1 :][:_HOLDING]

    def _carry(self, landmarks: np.ndarray, old: View, new: View) -> None:
        """Landmarks that one view alone saw go where it goes, and keep to its unit."""
        own = self.points[landmarks] @ old.camera[:3, :3].T + old.camera[:3, 3]
        self.points[landmarks] = _carried(own * np.exp(new.unit - old.unit), new.camera)

    def _forget(self, count: int, marks: np.ndarray) -> np.ndarray:
        """Without the first views and what they alone saw. Gives a newest view's landmarks (n,) by their new rows."""
        self.views = self.views[count:]
        used = np.unique(np.concatenate([marks, *(view.landmarks for view in self.views)]))
        used = used[used != NONE]
        rows = np.full(len(self.points) + 1, NONE)  # the last one is NONE's own
        rows[used] = np.arange(len(used))
        self.points, self.spreads = self.points[used], self.spreads[used]
        self.views = [replace(view, landmarks=rows[view.landmarks]) for view in self.views]
        return rows[marks]

    def state_dict(self) -> dict[str, Tensor]:
        """The views one after the other, and the landmarks."""
        features = [view.features for view in self.views]
        return {
            "cameras": _stack([view.camera for view in self.views], (4, 4)),
            "units": torch.tensor([view.unit for view in self.views], dtype=torch.float64),
            "focal": torch.tensor([f.focal for f in features], dtype=torch.float64),
            "counts": torch.tensor([len(f.rays) for f in features], dtype=torch.int64),
            "rays": _join([f.rays for f in features], np.zeros((0, 2))),
            "descriptors": _join([f.descriptors for f in features], np.zeros((0, LENGTH), np.uint8)),
            "depths": _join([f.depths for f in features], np.zeros(0)),
            "landmarks": _join([view.landmarks for view in self.views], np.zeros(0, np.int64)),
            "points": torch.from_numpy(self.points.copy()),
            "spreads": torch.from_numpy(self.spreads.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave. Raises InputError for what is not whole."""
        cameras = take(state, "cameras", ("views", 4, 4), torch.float64).numpy()
        count = (len(cameras),)
        units, focal = (take(state, name, count, torch.float64).tolist() for name in ("units", "focal"))
        ends = np.cumsum([0, *take(state, "counts", count).tolist()])
        seen = int(ends[-1])
        rays = take(state, "rays", (seen, 2), torch.float64).numpy()
        descriptors = take(state, "descriptors", (seen, LENGTH), torch.uint8).numpy()
        depths = take(state, "depths", (seen,), torch.float64).numpy()
        points = take(state, "points", ("landmarks", 3), torch.float64).numpy()
        spreads = take(state, "spreads", (len(points),), torch.float64).numpy()
        landmarks = take(state, "landmarks", (seen,)).numpy()
        if seen and not (landmarks.min() >= NONE and landmarks.max() < len(points)):
            raise InputError(
                f"landmarks must be {NONE} or rows of the {len(points)} points, got {landmarks.min()} to "
                f"{landmarks.max()}; save it again with state_dict."
            )
        parts = [slice(a, b) for a, b in pairwise(ends)]
        self.views = [
            View(camera, unit, Features(rays[p], descriptors[p], depths[p], f), landmarks[p])
            for camera, unit, f, p in zip(cameras, units, focal, parts, strict=True)
        ]
        self.points, self.spreads = points.copy(), spreads.copy()


def _carried(own: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Points (n, 3) in a camera's axes as points of the world; camera_from_world (4, 4)."""
    return (own - camera[:3, 3]) @ camera[:3, :3]


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, *shape, dtype=torch.float64)


def _join(arrays: Sequence[np.ndarray], empty: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([empty, *arrays]))
