"""Bundle adjustment with depth: Levenberg-Marquardt over cameras and points, points eliminated by the Schur complement.

It minimizes the sum of Huber costs of all residuals r = z - h(T, p), in standard deviations. An observation z has three
parts: the ray (x / z, y / z) in pixels, and the log of the net's depth. The depth fixes the scale that rays leave open.
Sources: Triggs et al., "Bundle Adjustment - A Modern Synthesis" (2000), sections 4 and 6; Hartley and Zisserman,
"Multiple View Geometry" (2nd edition), appendix 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

SIGMA_PX = 1.0  # standard deviation of a feature's location, pixels of the image that it was detected in
SIGMA_LOG_DEPTH = 0.8  # of the log of a net's depth; wide, because a net's errors in one view are correlated
HUBER = 2.0  # standard deviations beyond which a residual counts linearly
MIN_DEPTH = 1e-2  # a point must lie this far in front of a camera, in the map's unit
POSE_DOF = 6  # rotation vector, translation
OUTLIER_SIGMAS = 4.0
STEPS = 8
INITIAL_DAMPING, MAX_DAMPING = 1e-4, 1e4


@dataclass(frozen=True)
class Bundle:
    """Cameras, points and the observations that connect them, all float64 (indices int64).

    cameras: camera_from_world (c, 4, 4); free (c,) bool: whether a camera may move; points (p, 3) in the world.
    Observations (n,): camera_index and point_index, no pair twice; rays (n, 2), x / z and y / z; depths (n,) of the
    net, 0 = unknown; focal (n,) in pixels.
    """

    cameras: np.ndarray
    free: np.ndarray
    points: np.ndarray
    camera_index: np.ndarray
    point_index: np.ndarray
    rays: np.ndarray
    depths: np.ndarray
    focal: np.ndarray

    def select(self, observations: np.ndarray) -> Bundle:
        """Return the bundle with a subset of its observations, (n,) bool."""
        names = ("camera_index", "point_index", "rays", "depths", "focal")
        return replace(self, **{name: getattr(self, name)[observations] for name in names})


def optimize(bundle: Bundle, steps: int = STEPS) -> Bundle:
    """Move free cameras and points to (nearly) the least cost; the cost never grows."""
    if not len(bundle.camera_index):
        return bundle
    current = _Linearization(bundle)
    damping = INITIAL_DAMPING
    for _ in range(steps):
        candidate = _Linearization(current.lm_step(damping))
        if candidate.cost < current.cost:
            decrease = current.cost - candidate.cost
            current, damping = candidate, damping * 0.3
            if decrease < 1e-3 * current.cost:
                break
        elif (damping := damping * 10) > MAX_DAMPING:
            break
    return current.bundle


def optimize_robust(bundle: Bundle) -> tuple[Bundle, np.ndarray]:
    """Optimize, remove the outliers, and optimize again. Returns the bundle and the outliers (n,) bool."""
    first = optimize(bundle)
    outliers = find_outliers(first)
    return (optimize(first.select(~outliers)) if outliers.any() else first), outliers


def compute_relative_sigma(bundle: Bundle) -> np.ndarray:
    """Compute the standard deviation of each point (p,) over its distance; inf for an unobserved point."""
    return _Linearization(bundle).compute_relative_sigma()


def find_outliers(bundle: Bundle) -> np.ndarray:
    """Find observations (n,) bool whose reprojection error exceeds 4 sigma, or whose point lies behind the camera."""
    errors = _Linearization(bundle)
    return (np.linalg.norm(errors.residuals[:, :2], axis=1) > OUTLIER_SIGMAS) | ~errors.in_front


class _Linearization:
    """Residuals (n, 3) of a bundle in standard deviations (right, down, log depth), Huber weights, and the cost."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.rotations = bundle.cameras[:, :3, :3][bundle.camera_index]
        translations = bundle.cameras[:, :3, 3][bundle.camera_index]
        self.points_camera = np.einsum("nij,nj->ni", self.rotations, bundle.points[bundle.point_index]) + translations
        self.in_front = self.points_camera[:, 2] > MIN_DEPTH
        self.z = np.where(self.in_front, self.points_camera[:, 2], 1.0)
        self.focal = bundle.focal / SIGMA_PX
        self.projected = self.points_camera[:, :2] / self.z[:, None]
        reprojection = (bundle.rays - self.projected) * self.focal[:, None]
        # A net errs alike in all views of a point: k views of it together weigh as much as one.
        self.has_depth = bundle.depths > 0
        views = np.bincount(bundle.point_index, minlength=len(bundle.points))[bundle.point_index]
        self.depth_weight = 1 / (SIGMA_LOG_DEPTH * np.sqrt(views))
        log_ratio = np.log(np.where(self.has_depth, bundle.depths, 1.0) / self.z)
        log_depth = np.where(self.has_depth, log_ratio * self.depth_weight, 0.0)
        self.residuals = np.where(self.in_front[:, None], np.column_stack((reprojection, log_depth)), 0.0)
        # Huber: iteratively reweighted least squares with weight min(1, HUBER / |r|), one for both pixel axes.
        norms = np.column_stack((np.linalg.norm(self.residuals[:, :2], axis=1), np.abs(self.residuals[:, 2])))
        norms[~self.in_front] = 10 * HUBER  # a point behind its camera costs, but has no useful derivative
        quadratic = norms <= HUBER
        self.weights = np.where(quadratic, 1.0, HUBER / np.maximum(norms, HUBER))[:, [0, 0, 1]]
        self.weights[~self.in_front] = 0.0
        self.cost = float(np.where(quadratic, 0.5 * norms**2, HUBER * (norms - 0.5 * HUBER)).sum())

    def compute_jacobian(self) -> np.ndarray:
        """dh / dq (n, 3, 3): the prediction by the point q in camera axes.

        With q = (x, y, z), focal length f and depth weight w, its rows are
        (f / z, 0, -f x / z^2), (0, f / z, -f y / z^2) and (0, 0, w / z). The residual's derivative is its negative.
        """
        jacobian = np.zeros((len(self.residuals), 3, 3))
        jacobian[:, 0, 0] = jacobian[:, 1, 1] = self.focal / self.z
        jacobian[:, :2, 2] = -self.projected * (self.focal / self.z)[:, None]
        jacobian[:, 2, 2] = np.where(self.has_depth, self.depth_weight / self.z, 0.0)
        return jacobian

    def compute_relative_sigma(self) -> np.ndarray:
        """The largest axis of each point's covariance, the inverse of its information V, over its least depth."""
        bundle = self.bundle
        by_point = self.compute_jacobian() @ self.rotations
        information = (by_point * self.weights[:, :, None]).transpose(0, 2, 1) @ by_point
        V = _sum_by_index(bundle.point_index, information, len(bundle.points))
        _add_damping(V, 0.0)
        nearest = np.full(len(bundle.points), np.inf)
        np.minimum.at(nearest, bundle.point_index, self.z)
        sigma = np.sqrt(1 / np.linalg.eigvalsh(V)[:, 0].clip(1e-12))
        return np.where(np.isfinite(nearest), sigma / nearest, np.inf)

    def lm_step(self, damping: float) -> Bundle:
        """Return the bundle after one Levenberg-Marquardt step.

        The normal equations J^T L J d = J^T L r (L: the Huber weights), ordered by cameras (c) and points (p), read

            | U    W | | dc |   | bc |      U (c, 6, 6):    block-diagonal, a block per camera
            | W^T  V | | dp | = | bp |      V (p, 3, 3):    block-diagonal, a block per point
                                            W (c, p, 6, 3): a block per observation

        V is cheap to invert, block by block. Eliminating the many points leaves a small system of the free cameras,
        whose matrix is the Schur complement of V:

            (U - W V^-1 W^T) dc = bc - W V^-1 bp,      then      dp = V^-1 (bp - W^T dc).

        Damping multiplies the diagonals of U and V by (1 + damping): a small one gives a Gauss-Newton step, a large one
        a short step of gradient descent. The rows of fixed cameras are left out, so these hold the map where it is.
        """
        bundle, cameras, points = self.bundle, len(self.bundle.cameras), len(self.bundle.points)
        # The pose update acts from the left: q' = q + omega x q + t, so dq / d(omega, t) = (-[q]x, I), dq / dp = R.
        jacobian = self.compute_jacobian()
        by_camera = np.concatenate((-jacobian @ skew(self.points_camera), jacobian), axis=2)
        by_point = jacobian @ self.rotations
        weights = self.weights[:, :, None]
        by_camera_t = (by_camera * weights).transpose(0, 2, 1)
        by_point_t = (by_point * weights).transpose(0, 2, 1)

        U = _sum_by_index(bundle.camera_index, by_camera_t @ by_camera, cameras)
        V = _sum_by_index(bundle.point_index, by_point_t @ by_point, points)
        bc = _sum_by_index(bundle.camera_index, np.einsum("nij,nj->ni", by_camera_t, self.residuals), cameras)
        bp = _sum_by_index(bundle.point_index, np.einsum("nij,nj->ni", by_point_t, self.residuals), points)
        _add_damping(U, damping)
        _add_damping(V, damping)
        V_inverse = np.linalg.inv(V)

        # W is sparse: a point is seen by few cameras of many.
        rows = np.flatnonzero(bundle.free[bundle.camera_index])
        rows = rows[np.argsort(bundle.camera_index[rows], kind="stable")]
        camera, point = (np.cumsum(bundle.free) - 1)[bundle.camera_index[rows]], bundle.point_index[rows]
        count = int(bundle.free.sum())
        starts, shape = np.searchsorted(camera, np.arange(count + 1)), (POSE_DOF * count, 3 * points)
        blocks = by_camera_t[rows] @ by_point[rows]
        W = sparse.bsr_matrix((blocks, point, starts), shape)
        WV = sparse.bsr_matrix((blocks @ V_inverse[point], point, starts), shape)
        schur = -(WV @ W.T).toarray()
        free = np.flatnonzero(bundle.free)
        diagonal = schur.reshape(len(free), POSE_DOF, len(free), POSE_DOF)
        diagonal[np.arange(len(free)), :, np.arange(len(free)), :] += U[free]
        dc = _solve_semidefinite(schur, bc[free].ravel() - WV @ bp.ravel())
        dp = np.einsum("pij,pj->pi", V_inverse, bp - (W.T @ dc).reshape(-1, 3))

        moved = bundle.cameras.copy()
        for row, update in zip(free, dc.reshape(-1, POSE_DOF), strict=True):
            moved[row] = make_pose_update(update) @ moved[row]
        return replace(bundle, cameras=moved, points=bundle.points + dp)


def _sum_by_index(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum values (n, ...) by their index (n,): (count, ...)."""
    flat = values.reshape(len(values), -1)
    places = index[:, None] * flat.shape[1] + np.arange(flat.shape[1])
    total = np.bincount(places.ravel(), weights=flat.ravel(), minlength=count * flat.shape[1])
    return total.reshape(count, *values.shape[1:])


def _solve_semidefinite(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Solve a system that is singular where no depth fixes the scale; then the change is the least."""
    try:
        return cho_solve(cho_factor(matrix), values)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, values, rcond=None)[0]


def _add_damping(blocks: np.ndarray, damping: float) -> None:
    """Multiply diagonals of (m, s, s) by 1 + damping, in place; a small constant keeps empty blocks invertible."""
    axes = np.arange(blocks.shape[-1])
    blocks[:, axes, axes] += damping * blocks[:, axes, axes] + 1e-9


def skew(vectors: np.ndarray) -> np.ndarray:
    """Matrices (n, 3, 3) of vectors (n, 3) with [a]x b = a x b."""
    out = np.zeros((len(vectors), 3, 3))
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return out - out.transpose(0, 2, 1)


def make_pose_update(update: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of an update (6,): the exponential of its rotation vector, and its translation as it is.

    To first order this equals the exponential of se(3), whose translation the rotation would bend.
    """
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(update[:3])[0], update[3:]
    return pose
