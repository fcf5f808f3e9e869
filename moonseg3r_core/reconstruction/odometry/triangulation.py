"""Depth of an image's features from other images, all of known pose. Rays are x / z and y / z; poses are in metres.

Source: Hartley and Zisserman, "Multiple View Geometry" (2nd edition), sections 9.2 and 12.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK
from moonseg3r_core.reconstruction.odometry.features import Features
from moonseg3r_core.reconstruction.odometry.local_map import Keyframe, LocalMap
from moonseg3r_core.reconstruction.odometry.matching import match_descriptors

EPIPOLAR_PX = 4.0  # a match lies this near to its epipolar line
SIGMA_PX = 2.0  # of a match, with what the error of the poses adds
MAX_SIGMA = 0.3  # of the log of a depth; a narrower angle tells nothing
MAX_SPREAD = 0.3  # of the log depths that several images give a feature
RECENT_KEYFRAMES, NEAR_KEYFRAMES = 3, 5  # images that a frame is matched with
KEYFRAME_DEG, KEYFRAME_SHIFT_M = 5.0, 0.1  # degrees, metres: from there on a keyframe is kept
MAX_KEYFRAMES = 400  # beyond them the oldest quarter is removed


class Triangulation:
    """Triangulates the features of each frame with those of keyframes, which it collects."""

    def __init__(self) -> None:
        self._map = LocalMap()  # keyframes without landmarks

    def reset(self) -> None:
        """Forget all keyframes."""
        self._map.reset()

    def __call__(self, features: Features, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows (n,) of the features whose depth is known, the log of it (n,) and its sigma (n,)."""
        found = [_match(features, world_from_camera, k) for k in self._select_keyframes(world_from_camera)]
        if self._is_keyframe_due(world_from_camera):
            none = np.full(len(features.rays), NO_LANDMARK)
            self._map.keyframes.append(Keyframe(np.linalg.inv(world_from_camera), features, none))
            if len(self._map.keyframes) > MAX_KEYFRAMES:
                del self._map.keyframes[: MAX_KEYFRAMES // 4]
        return fuse_depths(*(np.concatenate(parts) for parts in zip(*found, strict=True))) if found else _NOTHING

    def _select_keyframes(self, pose: np.ndarray) -> Sequence[Keyframe]:
        """Select the last keyframes, and older ones of the most similar view."""
        recent, older = self._map.keyframes[-RECENT_KEYFRAMES:], self._map.keyframes[:-RECENT_KEYFRAMES]
        offsets = [keyframe.pose - pose for keyframe in older]
        distances = [np.linalg.norm(d[:3, 3]) + 2 * np.linalg.norm(d[:3, 2]) for d in offsets]
        return [*recent, *(older[i] for i in np.argsort(distances)[:NEAR_KEYFRAMES])]

    def _is_keyframe_due(self, pose: np.ndarray) -> bool:
        if not self._map.keyframes:
            return True
        last = self._map.keyframes[-1].pose
        angle = compute_rotation_angle(torch.from_numpy(pose), torch.from_numpy(last))
        return angle > KEYFRAME_DEG or float(np.linalg.norm(pose[:3, 3] - last[:3, 3])) > KEYFRAME_SHIFT_M

    @property
    def descriptor_size(self) -> int | None:
        """How many numbers a descriptor of the keyframes has; None without keyframes."""
        return self._map.descriptor_size

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all keyframes' parts."""
        return self._map.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned. Raises InputError for an incomplete state."""
        self._map.load_state_dict(state)


def compute_epipolar_distance(rays: np.ndarray, others: np.ndarray, other_from_camera: np.ndarray) -> np.ndarray:
    """Compute how far each ray (k, 2) of another image is from the epipolar line of each ray (n, 2): (n, k) float32."""
    t = other_from_camera[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    lines = (_extend(rays) @ (cross @ other_from_camera[:3, :3]).T).astype(np.float32)
    lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True).clip(1e-12)
    return np.abs(lines @ _extend(others).astype(np.float32).T)


def triangulate(rays: np.ndarray, others: np.ndarray, other_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth (n,) of rays (n, 2) that meet the `others` (n, 2) of another camera, and what one unit of the
    other ray makes of its logarithm (n,). NaN and inf where the lines do not meet before both cameras.
    """
    turned, t = _extend(rays) @ other_from_camera[:3, :3].T, other_from_camera[:3, 3]
    slopes = others * turned[:, 2:] - turned[:, :2]
    offsets = t[:2] - others * t[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (slopes * offsets).sum(1) / (slopes * slopes).sum(1)
        z = depth * turned[:, 2] + t[2]
        change = np.linalg.norm(turned[:, :2] * t[2] - turned[:, 2:] * t[:2], axis=1) * depth / (z * z)
        behind = ~((depth > 0) & (z > 0) & np.isfinite(depth))
        return np.where(behind, np.nan, depth), np.where(behind, np.inf, 1 / change)


def fuse_depths(rows: np.ndarray, logs: np.ndarray, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fuse several log depths (n,) of a row each by their sigmas (n,): the rows, once each, log depths and sigmas.

    A row whose depths disagree is left out.
    """
    kept, at = np.unique(rows, return_inverse=True)
    weights = 1 / sigmas**2
    total = np.bincount(at, weights, len(kept))
    mean = np.bincount(at, weights * logs, len(kept)) / total
    spread = np.sqrt(np.bincount(at, weights * (logs - mean[at]) ** 2, len(kept)) / total)
    agreed = spread < MAX_SPREAD
    return kept[agreed], mean[agreed], (1 / np.sqrt(total))[agreed]


_NOTHING = (np.zeros(0, int), np.zeros(0), np.zeros(0))


def _match(
    features: Features, world_from_camera: np.ndarray, keyframe: Keyframe
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of features that a keyframe shows too, the log of their depth and its sigma."""
    relative, theirs = keyframe.camera @ world_from_camera, keyframe.features
    if np.linalg.norm(relative[:3, 3]) < 1e-3:
        return _NOTHING
    near = compute_epipolar_distance(features.rays, theirs.rays, relative) < EPIPOLAR_PX / theirs.focal
    rows, columns = match_descriptors(features.descriptors, theirs.descriptors, near)
    depths, change = triangulate(features.rays[rows], theirs.rays[columns], relative)
    sigmas = change * SIGMA_PX / theirs.focal
    good = sigmas < MAX_SIGMA
    return rows[good], np.log(depths[good]), sigmas[good]


def _extend(rays: np.ndarray) -> np.ndarray:
    return np.column_stack((rays, np.ones(len(rays))))
