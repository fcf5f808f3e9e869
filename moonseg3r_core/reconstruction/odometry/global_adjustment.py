"""Bundle adjustment of all keyframes of a map at once, by the landmarks that most of them see."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.reconstruction.odometry.bundle_adjustment import Bundle, find_outliers, optimize
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK
from moonseg3r_core.reconstruction.odometry.local_map import LocalMap

PER_KEYFRAME = 100  # landmarks
STEPS = 3  # before and after outliers are left out
MIN_DEPTH = 1e-3


def adjust_all(map: LocalMap) -> None:
    """Adjust all keyframes but the first, and the landmarks; those that are not chosen follow their keyframe."""
    bundle, landmarks = choose_bundle(map)
    if not len(landmarks):
        return
    first = optimize(bundle, STEPS)
    after = optimize(first.select(~find_outliers(first)), STEPS)
    ratios = compute_depths(after, bundle) / compute_depths(bundle, bundle)
    views = np.linalg.inv(after.cameras)
    for row in range(len(views)):
        own = ratios[bundle.camera_index == row]
        views[row, :3, :3] *= np.median(own) if len(own) else 1.0
    map.move_keyframes(views)
    map.points[landmarks] = after.points


def choose_bundle(map: LocalMap) -> tuple[Bundle, np.ndarray]:
    """Choose `PER_KEYFRAME` landmarks of each keyframe, those that most others see, and all observations of them.

    Returns the bundle, and the rows (p,) of the landmarks.
    """
    keyframes = map.keyframes
    landmark = np.concatenate([k.landmarks for k in keyframes])
    camera = np.repeat(np.arange(len(keyframes)), [len(k.landmarks) for k in keyframes])
    views = np.bincount(landmark[landmark != NO_LANDMARK], minlength=len(map.points))
    seen = np.flatnonzero(landmark != NO_LANDMARK)
    seen = seen[views[landmark[seen]] > 1]
    order = seen[np.lexsort((-views[landmark[seen]], camera[seen]))]
    rank = np.arange(len(order)) - np.searchsorted(camera[order], camera[order])
    chosen = np.zeros(len(map.points), bool)
    chosen[landmark[order[rank < PER_KEYFRAME]]] = True
    rows = seen[chosen[landmark[seen]]]
    landmarks, point = np.unique(landmark[rows], return_inverse=True)
    rays, depths = (np.concatenate([getattr(k.features, name) for k in keyframes])[rows] for name in ("rays", "depths"))
    focal = np.array([k.features.focal for k in keyframes])[camera[rows]]
    cameras, free = np.stack([k.camera for k in keyframes]), np.arange(len(keyframes)) > 0
    return Bundle(cameras, free, map.points[landmarks], camera[rows], point, rays, depths, focal), landmarks


def compute_depths(bundle: Bundle, observed: Bundle) -> np.ndarray:
    """Compute the depth (n,) of each point in the cameras that observe it, with the observations of another bundle."""
    rows = bundle.cameras[observed.camera_index][:, 2]
    points = bundle.points[observed.point_index]
    return np.maximum(np.einsum("ni,ni->n", rows[:, :3], points) + rows[:, 3], MIN_DEPTH)
