"""The local map: keyframes, their landmarks, and the bundle adjustment that places both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.ops.xfeat import XFEAT_SIZE
from moonseg3r_core.reconstruction.key_views import KeyViews
from moonseg3r_core.reconstruction.odometry.absolute_pose import compute_depths
from moonseg3r_core.reconstruction.odometry.bundle_adjustment import (
    SIGMA_LOG_DEPTH,
    Bundle,
    compute_relative_sigma,
    optimize_robust,
)
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK, Candidates
from moonseg3r_core.reconstruction.odometry.features import Features, read_descriptors
from moonseg3r_core.runtime.state import read_tensor

MAX_FREE, MAX_FIXED = 8, 8  # keyframes that an optimization moves, and others that anchor them
MAX_SIGMA = 0.2  # of the log of a landmark's distance, where nothing but the net tells it
MAX_KEYFRAMES = 400  # beyond them the oldest quarter is removed


@dataclass(frozen=True)
class Keyframe:
    """An image in the map.

    camera: camera_from_world (4, 4); landmarks (n,) int64: of each feature the landmark's row or NO_LANDMARK, no row
    twice; duplicates (k, 2): pairs of landmarks that this image shows to be one, of which the second is kept;
    serial: its number in the map, from 1 on and never used again; 0 for an image that is not in the map; scale: of its
    depths as they are now over those when it came.
    """

    camera: np.ndarray
    features: Features
    landmarks: np.ndarray
    duplicates: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))
    serial: int = 0
    scale: float = 1.0

    @property
    def pose(self) -> np.ndarray:
        """world_from_camera (4, 4)."""
        return np.linalg.inv(self.camera)

    @property
    def observed(self) -> np.ndarray:
        """Whether each feature (n,) has a landmark, bool."""
        return self.landmarks != NO_LANDMARK

    def place_features(self) -> np.ndarray:
        """Place the features (n, 3) in the world, at their depths."""
        rays, depths = self.features.rays, self.features.depths
        return _transform_to_world(np.column_stack((rays, np.ones(len(rays)))) * depths[:, None], self.camera)


class LocalMap:
    """Keyframes in their order, and landmarks: points (p, 3) in the world, sigmas (p,) relative to their distance."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all keyframes and landmarks; serial numbers begin at 1 again."""
        self._last_serial = 0
        self.clear()

    def clear(self) -> None:
        """Remove all keyframes and landmarks."""
        self.keyframes: list[Keyframe] = []
        self.points, self.sigmas = np.zeros((0, 3)), np.zeros(0)

    def compute_depths(self, camera: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Compute the depth (n,) of landmarks in a camera, camera_from_world (4, 4)."""
        return compute_depths(camera, self.points[landmarks])

    @property
    def descriptor_size(self) -> int | None:
        """How many numbers a descriptor has; None without keyframes."""
        return self.keyframes[0].features.descriptors.shape[1] if self.keyframes else None

    def collect(self, keyframes: Sequence[Keyframe]) -> Candidates:
        """Collect the landmarks that keyframes observe."""
        observed = [k.observed for k in keyframes]
        landmarks = np.concatenate([k.landmarks[o] for k, o in zip(keyframes, observed, strict=True)])
        counts = [int(o.sum()) for o in observed]
        return Candidates(
            self.points[landmarks],
            np.repeat([k.pose[:3, 3] for k in keyframes], counts, axis=0),
            np.minimum(self.sigmas[landmarks], MAX_SIGMA),
            np.concatenate([k.features.descriptors[o] for k, o in zip(keyframes, observed, strict=True)]),
            landmarks,
            np.repeat(np.arange(len(keyframes)), counts),
        )

    def collect_view(self, view: Keyframe) -> Candidates:
        """Collect the landmarks of an image, and its other features at their depths."""
        points = view.place_features()
        sigmas = np.full(len(points), MAX_SIGMA)
        known = view.landmarks[view.observed]
        points[view.observed] = self.points[known]
        sigmas[view.observed] = np.minimum(self.sigmas[known], MAX_SIGMA)
        centres = np.broadcast_to(view.pose[:3, 3], points.shape)
        return Candidates(
            points, centres, sigmas, view.features.descriptors, view.landmarks, np.zeros(len(points), int)
        )

    def find_alike(self, features: Features, count: int) -> list[Keyframe]:
        """Find the keyframes that look most like an image as a whole, the most alike first."""
        likeness = np.stack([k.features.place for k in self.keyframes]) @ features.place
        return [self.keyframes[i] for i in np.argsort(-likeness)[:count]]

    def find_local(self, landmarks: np.ndarray, count: int) -> list[Keyframe]:
        """Find the keyframes that observe the most of some landmarks, and the last one."""
        shared = self.count_shared(landmarks)
        chosen = {len(self.keyframes) - 1, *np.argsort(-shared, kind="stable")[:count].tolist()}
        return [self.keyframes[i] for i in sorted(chosen)]

    def count_shared(self, landmarks: np.ndarray) -> np.ndarray:
        """Count how many of some landmarks each keyframe observes: (keyframes,)."""
        theirs = np.zeros(len(self.points) + 1, bool)
        theirs[landmarks] = True
        theirs[NO_LANDMARK] = False
        return np.array([int(theirs[k.landmarks].sum()) for k in self.keyframes])

    def move_keyframes(self, views: np.ndarray) -> None:
        """Move keyframes to similarities (n, 4, 4), their poses with the scale of their depths; a landmark follows the
        first keyframe that observes it.
        """
        owners = np.zeros(len(self.points), int)
        for row, keyframe in reversed([*enumerate(self.keyframes)]):
            owners[keyframe.landmarks[keyframe.observed]] = row
        moves = (views @ np.stack([k.camera for k in self.keyframes]))[owners]
        self.points = np.einsum("nij,nj->ni", moves[:, :3, :3], self.points) + moves[:, :3, 3]
        scales = np.cbrt(np.linalg.det(views[:, :3, :3]))
        cameras = np.linalg.inv(views @ np.stack([np.diag([1 / s, 1 / s, 1 / s, 1.0]) for s in scales]))
        self.keyframes = [
            replace(k, camera=camera, scale=k.scale * scale)
            for k, camera, scale in zip(self.keyframes, cameras, scales.tolist(), strict=True)
        ]

    def add_keyframe(self, keyframe: Keyframe, depths: np.ndarray | None = None) -> Keyframe:
        """Add a keyframe and optimize it with its covisible keyframes. Returns the optimized one.

        Its features without a landmark become new landmarks at some depths (n,), the net's where None. Corrected ones
        carry the map's scale through a turn.
        """
        features, landmarks = keyframe.features, keyframe.landmarks.copy()
        placed = keyframe if depths is None else replace(keyframe, features=replace(features, depths=depths))
        self.merge_landmarks(keyframe.duplicates)
        new = np.flatnonzero(~keyframe.observed)
        landmarks[new] = len(self.points) + np.arange(len(new))
        self.points = np.concatenate((self.points, placed.place_features()[new]))
        self.sigmas = np.concatenate((self.sigmas, np.full(len(new), SIGMA_LOG_DEPTH)))
        if len(self.keyframes) == MAX_KEYFRAMES:
            landmarks = self._remove_oldest(MAX_KEYFRAMES // 4, landmarks)
        self._last_serial += 1
        self.keyframes.append(Keyframe(keyframe.camera, features, landmarks, serial=self._last_serial))
        self.optimize_newest()
        return self.keyframes[-1]

    def find_keyframe(self, serial: int) -> Keyframe | None:
        """Find a keyframe by its serial number; None where it was removed."""
        return next((keyframe for keyframe in reversed(self.keyframes) if keyframe.serial == serial), None)

    def list_key_views(self) -> KeyViews:
        """List the keyframes as they lie now."""
        scales = [np.diag([k.scale, k.scale, k.scale, 1.0]) for k in self.keyframes]
        places = np.array([k.pose @ s for k, s in zip(self.keyframes, scales, strict=True)]).reshape(-1, 4, 4)
        depths = [float(np.median(keyframe.features.depths)) for keyframe in self.keyframes]
        anchors = torch.tensor([keyframe.serial for keyframe in self.keyframes], dtype=torch.int64)
        return KeyViews(anchors, torch.from_numpy(places), torch.tensor(depths, dtype=torch.float64))

    def find_reference(self, keyframe: Keyframe) -> int:
        """Find the serial number of the keyframe that shares the most landmarks with an image, 0 without one."""
        shared = self.count_shared(keyframe.landmarks)
        return self.keyframes[int(np.argmax(shared))].serial if len(shared) else 0

    def merge_landmarks(self, duplicates: np.ndarray) -> None:
        """Give the observations of the first landmark of each pair (k, 2) to the second, one per keyframe."""
        rows = np.arange(len(self.points) + 1)
        rows[duplicates[:, 0]], rows[NO_LANDMARK] = duplicates[:, 1], NO_LANDMARK
        for number, keyframe in enumerate(self.keyframes if len(duplicates) else ()):
            landmarks = rows[keyframe.landmarks]
            unchanged_first = np.argsort(landmarks != keyframe.landmarks, kind="stable")
            repeated = np.ones(len(landmarks), bool)
            repeated[unchanged_first[np.unique(landmarks[unchanged_first], return_index=True)[1]]] = False
            self.keyframes[number] = replace(keyframe, landmarks=np.where(repeated, NO_LANDMARK, landmarks))

    def optimize_newest(self) -> None:
        """Optimize the newest keyframe and those covisible with it, and remove outlier observations."""
        newest = len(self.keyframes) - 1
        free = [newest, *self._find_covisible([newest])[: MAX_FREE - 1]]
        fixed = self._find_covisible(free)[:MAX_FIXED]
        chosen = [*free, *fixed]
        keyframes = [self.keyframes[i] for i in chosen]
        # All observations of the window, one row each: landmark, keyframe, and the feature's row in its keyframe.
        landmark = np.concatenate([keyframe.landmarks for keyframe in keyframes])
        camera = np.repeat(np.arange(len(keyframes)), [len(keyframe.landmarks) for keyframe in keyframes])
        feature = np.concatenate([np.arange(len(keyframe.landmarks)) for keyframe in keyframes])
        # Those count whose landmark at least two keyframes observe, one of them free.
        rows = np.flatnonzero(landmark != NO_LANDMARK)
        views = np.bincount(landmark[rows], minlength=len(self.points))
        free_views = np.bincount(landmark[rows[camera[rows] < len(free)]], minlength=len(self.points))
        rows = rows[(views[landmark[rows]] > 1) & (free_views[landmark[rows]] > 0)]
        shared, point_index = np.unique(landmark[rows], return_inverse=True)
        if not len(shared):
            return
        is_free = np.arange(len(keyframes)) < len(free)
        if not fixed:
            is_free[int(np.argmin(chosen))] = False  # the oldest keyframe fixes the world's axes
        features = [keyframe.features for keyframe in keyframes]
        cameras = np.stack([keyframe.camera for keyframe in keyframes])
        rays, depths = (np.concatenate([getattr(f, name) for f in features])[rows] for name in ("rays", "depths"))
        focal = np.array([f.focal for f in features])[camera[rows]]
        observed = Bundle(cameras, is_free, self.points[shared], camera[rows], point_index, rays, depths, focal)
        bundle, outliers = optimize_robust(observed)
        # A landmark that a single keyframe observes is not in the bundle: it keeps its place in that camera.
        unshared = self._find_unshared()
        for number, (index, old) in enumerate(zip(chosen, keyframes, strict=True)):
            landmarks = old.landmarks.copy()
            landmarks[feature[rows[outliers & (camera[rows] == number)]]] = NO_LANDMARK
            self.keyframes[index] = new = replace(old, camera=bundle.cameras[number], landmarks=landmarks)
            own = old.landmarks[old.observed]
            own = own[unshared[own]]
            points_camera = self.points[own] @ old.camera[:3, :3].T + old.camera[:3, 3]
            self.points[own] = _transform_to_world(points_camera, new.camera)
        self.points[shared] = bundle.points
        self.sigmas[shared] = np.minimum(compute_relative_sigma(bundle), SIGMA_LOG_DEPTH)

    def place_unshared(self, keyframe: Keyframe) -> None:
        """Place the landmarks that a keyframe alone observes at the depths of its features."""
        rows = np.flatnonzero(keyframe.observed)
        rows = rows[self._find_unshared()[keyframe.landmarks[rows]]]
        self.points[keyframe.landmarks[rows]] = keyframe.place_features()[rows]

    def _find_unshared(self) -> np.ndarray:
        """Find the landmarks (p,), bool, that a single keyframe observes."""
        landmarks = np.concatenate([keyframe.landmarks for keyframe in self.keyframes])
        return np.bincount(landmarks + 1, minlength=len(self.points) + 1)[1:] == 1

    def _find_covisible(self, chosen: Sequence[int]) -> list[int]:
        """Find other keyframes that observe landmarks of the chosen ones, by how many, the most first."""
        theirs = np.zeros(len(self.points) + 1, bool)
        theirs[np.concatenate([self.keyframes[i].landmarks for i in chosen])] = True
        theirs[NO_LANDMARK] = False
        shared = np.array([0 if i in chosen else theirs[k.landmarks].sum() for i, k in enumerate(self.keyframes)])
        return [int(i) for i in np.argsort(-shared, kind="stable") if shared[i]]

    def _remove_oldest(self, count: int, landmarks: np.ndarray) -> np.ndarray:
        """Remove the first keyframes and their unshared landmarks. Returns given landmarks (n,) renumbered."""
        self.keyframes = self.keyframes[count:]
        used = np.unique(np.concatenate([landmarks, *(keyframe.landmarks for keyframe in self.keyframes)]))
        used = used[used != NO_LANDMARK]
        rows = np.full(len(self.points) + 1, NO_LANDMARK)  # the last one maps NO_LANDMARK to itself
        rows[used] = np.arange(len(used))
        self.points, self.sigmas = self.points[used], self.sigmas[used]
        self.keyframes = [replace(keyframe, landmarks=rows[keyframe.landmarks]) for keyframe in self.keyframes]
        return rows[landmarks]

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the landmarks, and of all keyframes' parts one after the other."""
        features = [keyframe.features for keyframe in self.keyframes]
        cameras = np.array([keyframe.camera for keyframe in self.keyframes], np.float64).reshape(-1, 4, 4)
        return {
            "cameras": torch.from_numpy(cameras),
            "serials": torch.tensor([keyframe.serial for keyframe in self.keyframes], dtype=torch.int64),
            "scales": torch.tensor([keyframe.scale for keyframe in self.keyframes], dtype=torch.float64),
            "last_serial": torch.tensor([self._last_serial]),
            "focal": torch.tensor([f.focal for f in features], dtype=torch.float64),
            "counts": torch.tensor([len(f.rays) for f in features], dtype=torch.int64),
            "rays": _concatenate([f.rays for f in features], np.zeros((0, 2))),
            "descriptors": torch.from_numpy(np.concatenate([f.descriptors for f in features]))
            if features
            else torch.zeros(0, XFEAT_SIZE, dtype=torch.float16),
            "depths": _concatenate([f.depths for f in features], np.zeros(0)),
            "landmarks": _concatenate([keyframe.landmarks for keyframe in self.keyframes], np.zeros(0, np.int64)),
            "points": torch.from_numpy(self.points.copy()),
            "spreads": torch.from_numpy(self.sigmas.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned. Raises InputError for an incomplete state."""
        cameras = read_tensor(state, "cameras", ("views", 4, 4), torch.float64).numpy()
        count = (len(cameras),)
        focal = read_tensor(state, "focal", count, torch.float64).tolist()
        ends = np.cumsum([0, *read_tensor(state, "counts", count).clamp(min=0).tolist()])
        total = int(ends[-1])
        rays = read_tensor(state, "rays", (total, 2), torch.float64).numpy()
        descriptors = read_descriptors(state, total)
        depths = read_tensor(state, "depths", (total,), torch.float64).numpy()
        points = read_tensor(state, "points", ("landmarks", 3), torch.float64).numpy()
        sigmas = read_tensor(state, "spreads", (len(points),), torch.float64).numpy()
        landmarks = read_tensor(state, "landmarks", (total,)).numpy()
        if total and not (landmarks.min() >= NO_LANDMARK and landmarks.max() < len(points)):
            raise InputError(
                f"landmarks must be {NO_LANDMARK} or rows of the {len(points)} points, got {landmarks.min()} to "
                f"{landmarks.max()}; save it again with state_dict."
            )
        # States of before serial numbers have none: their keyframes are numbered in order.
        numbered = "serials" in state
        serials = read_tensor(state, "serials", count).tolist() if numbered else range(1, len(cameras) + 1)
        self._last_serial = int(read_tensor(state, "last_serial", (1,))) if numbered else len(cameras)
        scaled = "scales" in state  # those of before loops have their first scale
        scales = read_tensor(state, "scales", count, torch.float64).tolist() if scaled else [1.0] * len(cameras)
        parts = [slice(a, b) for a, b in pairwise(ends)]
        self.keyframes = [
            Keyframe(camera, Features(rays[p], descriptors[p], depths[p], f), landmarks[p], serial=serial, scale=scale)
            for camera, f, p, serial, scale in zip(cameras, focal, parts, serials, scales, strict=True)
        ]
        self.points, self.sigmas = points.copy(), sigmas.copy()


def _transform_to_world(points_camera: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Transform points (n, 3) from camera axes to the world; camera_from_world (4, 4)."""
    return (points_camera - camera[:3, 3]) @ camera[:3, :3]


def _concatenate(arrays: Sequence[np.ndarray], empty: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([empty, *arrays]))
