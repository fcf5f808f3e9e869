"""Bundle adjustment with depth: cameras and points moved so that all agree with what was seen.

Levenberg-Marquardt over a window of cameras, points eliminated by the Schur complement (Triggs et al., 2000). The depth
that a net gives weighs as much as it is worth: where a point is seen from far apart it is found by its rays, elsewhere the
net's depth holds it, weakly, but wherever it is known: so the map's unit stays the net's in the mean, and does not drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

SIGMA_PX = 1.0  # the spread of a feature's place, in pixels of the picture that it was found in
SIGMA_LOG_DEPTH = 0.8  # the spread of the log of a net's depth: wide, for its errors in one view are alike
_ROBUST = 2.0  # spreads beyond which an error counts less and less (Huber)
_NEAR = 1e-2  # of a unit: points must lie so far before a camera
_CAMERA = 6  # unknowns of one: turn and move
_GENTLE, _STUBBORN = 1e-4, 1e4  # damping at first, and where the search is given up


@dataclass(frozen=True)
class Bundle:
    """Cameras camera_from_world (c, 4, 4) and which may move (c,) bool; points (p, 3) in the world; sights (n,): the camera
    and the point of each, no pair twice, its ray (n, 2) x / z and y / z, the net's depth (n,), 0 where unknown, and the
    focal length (n,) in pixels. All float64.
    """

    cameras: np.ndarray
    free: np.ndarray
    points: np.ndarray
    camera: np.ndarray
    point: np.ndarray
    rays: np.ndarray
    depths: np.ndarray
    focal: np.ndarray

    def of(self, sights: np.ndarray) -> Bundle:
        """With some sights (n,) bool alone."""
        names = ("camera", "point", "rays", "depths", "focal")
        return replace(self, **{name: getattr(self, name)[sights] for name in names})


def optimize(bundle: Bundle, steps: int = 8) -> Bundle:
    """The bundle with cameras and points at (nearly) the least error; at worst as it was."""
    if not len(bundle.camera):
        return bundle
    errors = _Errors(bundle)
    damping = _GENTLE
    for _ in range(steps):
        moved = errors.stepped(damping)
        better = _Errors(moved)
        if better.cost < errors.cost:
            gained = errors.cost - better.cost
            errors, damping = better, damping * 0.3
            if gained < 1e-3 * errors.cost:
                break
        elif (damping := damping * 10) > _STUBBORN:
            break
    return errors.bundle


def optimize_robust(bundle: Bundle) -> tuple[Bundle, np.ndarray]:
    """The bundle adjusted, then once more without the sights (n,) bool that stray, which are told beside it."""
    once = optimize(bundle)
    astray = find_outliers(once)
    return (optimize(once.of(~astray)) if astray.any() else once), astray


def compute_relative_sigma(bundle: Bundle) -> np.ndarray:
    """How far each point (p,) may be off, as a share of its distance: one spread, were the cameras right; inf where none sees it."""
    return _Errors(bundle).doubts()


def find_outliers(bundle: Bundle, spreads: float = 4.0) -> np.ndarray:
    """Sights (n,) bool that lie that many spreads of a pixel or more from where their point is seen, or behind."""
    errors = _Errors(bundle)
    return (np.linalg.norm(errors.values[:, :2], axis=1) > spreads) | ~errors.ahead


class _Errors:
    """A bundle's errors in spreads (n, 3): right, down, log of depth; with their robust weights and cost."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        turns, moves = bundle.cameras[:, :3, :3][bundle.camera], bundle.cameras[:, :3, 3][bundle.camera]
        self.seen = np.einsum("nij,nj->ni", turns, bundle.points[bundle.point]) + moves
        self.ahead = self.seen[:, 2] > _NEAR
        z = np.where(self.ahead, self.seen[:, 2], 1.0)
        self.focal = bundle.focal / SIGMA_PX
        projected = self.seen[:, :2] / z[:, None]
        place = (bundle.rays - projected) * self.focal[:, None]
        known = bundle.depths > 0
        times = np.bincount(bundle.point, minlength=len(bundle.points))[bundle.point]
        self.doubt = 1 / (SIGMA_LOG_DEPTH * np.sqrt(times))  # a net errs alike in all views of a point
        deep = np.where(known, np.log(np.where(known, bundle.depths, 1.0) / z) * self.doubt, 0.0)
        self.values = np.where(self.ahead[:, None], np.column_stack((place, deep)), 0.0)
        self.z, self.projected, self.known = z, projected, known
        sizes = np.column_stack((np.linalg.norm(self.values[:, :2], axis=1), np.abs(self.values[:, 2])))
        sizes[~self.ahead] = 10 * _ROBUST
        inner = sizes <= _ROBUST
        self.weights = np.where(inner, 1.0, _ROBUST / np.maximum(sizes, _ROBUST))[:, [0, 0, 1]]
        self.weights[~self.ahead] = 0.0
        self.cost = float(np.where(inner, 0.5 * sizes**2, _ROBUST * (sizes - 0.5 * _ROBUST)).sum())

    def by_seen(self) -> np.ndarray:
        """What is predicted by the point in the camera's axes (n, 3, 3)."""
        by = np.zeros((len(self.values), 3, 3))
        by[:, 0, 0] = by[:, 1, 1] = self.focal / self.z
        by[:, :2, 2] = -self.projected * (self.focal / self.z)[:, None]
        by[:, 2, 2] = np.where(self.known, self.doubt / self.z, 0.0)
        return by

    def doubts(self) -> np.ndarray:
        bundle = self.bundle
        by_point = self.by_seen() @ bundle.cameras[:, :3, :3][bundle.camera]
        held = (by_point * self.weights[:, :, None]).transpose(0, 2, 1) @ by_point
        pp = _sums(bundle.point, held, len(bundle.points))
        _damp(pp, 0.0)
        nearest = np.full(len(bundle.points), np.inf)
        np.minimum.at(nearest, bundle.point, self.z)
        spread = np.sqrt(1 / np.linalg.eigvalsh(pp)[:, 0].clip(1e-12))
        return np.where(np.isfinite(nearest), spread / nearest, np.inf)

    def stepped(self, damping: float) -> Bundle:
        """The bundle after one damped step of Gauss and Newton."""
        bundle, count, points = self.bundle, len(self.bundle.cameras), len(self.bundle.points)
        by_seen = self.by_seen()
        by_camera = np.concatenate((-by_seen @ _cross(self.seen), by_seen), axis=2)
        by_point = by_seen @ bundle.cameras[:, :3, :3][bundle.camera]
        weighted = self.weights[:, :, None]
        camera_t, point_t = (by_camera * weighted).transpose(0, 2, 1), (by_point * weighted).transpose(0, 2, 1)

        cc = _sums(bundle.camera, camera_t @ by_camera, count)
        pp = _sums(bundle.point, point_t @ by_point, points)
        bc = _sums(bundle.camera, np.einsum("nij,nj->ni", camera_t, self.values), count)
        bp = _sums(bundle.point, np.einsum("nij,nj->ni", point_t, self.values), points)
        _damp(cc, damping)
        _damp(pp, damping)
        cross = np.zeros((points, count, _CAMERA, 3))
        cross[bundle.point, bundle.camera] = camera_t @ by_point

        free = np.flatnonzero(bundle.free)
        size = _CAMERA * len(free)
        joint = cross[:, free].reshape(points, size, 3)
        solved = np.linalg.inv(pp)
        spread = (joint @ solved).transpose(1, 0, 2).reshape(size, 3 * points)
        schur = np.zeros((len(free), _CAMERA, len(free), _CAMERA))
        schur[np.arange(len(free)), :, np.arange(len(free)), :] = cc[free]
        reduced = schur.reshape(size, size) - spread @ joint.transpose(1, 0, 2).reshape(size, 3 * points).T
        step = np.linalg.lstsq(reduced, bc[free].ravel() - spread @ bp.ravel(), rcond=None)[0]
        shifts = np.einsum("pij,pj->pi", solved, bp - np.einsum("psj,s->pj", joint, step))

        cameras = bundle.cameras.copy()
        for row, change in zip(free, step.reshape(-1, _CAMERA), strict=True):
            cameras[row] = _moved(change) @ cameras[row]
        return replace(bundle, cameras=cameras, points=bundle.points + shifts)


def _sums(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Values (n, ...) added up by row (n,): (count, ...)."""
    flat = values.reshape(len(values), -1)
    places = rows[:, None] * flat.shape[1] + np.arange(flat.shape[1])
    total = np.bincount(places.ravel(), weights=flat.ravel(), minlength=count * flat.shape[1])
    return total.reshape(count, *values.shape[1:])


def _damp(blocks: np.ndarray, damping: float) -> None:
    """Diagonals of (m, s, s) made longer, in place, those of what nothing holds too."""
    axes = np.arange(blocks.shape[-1])
    blocks[:, axes, axes] += damping * blocks[:, axes, axes] + 1e-9


def _cross(vectors: np.ndarray) -> np.ndarray:
    """(n, 3) -> (n, 3, 3), which times a vector is their cross product."""
    out = np.zeros((len(vectors), 3, 3))
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return out - out.transpose(0, 2, 1)


def _moved(change: np.ndarray) -> np.ndarray:
    """(4, 4) of a small turn (its axis times its angle) and move (6,)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(change[:3])[0], change[3:]
    return pose
