"""A pose graph of similarities: what each pair of views says of their relative place, brought to agree.

Color alone drifts in scale too, so a node is a similarity world_from_view = [s R, t]. Gauss-Newton with damping minimizes
the sum of squares of the edges' residuals: rotation vector, translation and log scale of measured^-1 first^-1 second.
Source: Strasdat, Montiel and Davison, "Scale Drift-Aware Large Scale Monocular SLAM" (RSS 2010).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from moonseg3r_core.reconstruction.odometry.bundle_adjustment import skew

DOF = 7  # rotation vector, translation, log scale
STEPS, DAMPING, MAX_DAMPING = 20, 1e-6, 1e3
_CONVERGED = 1e-4  # of the cost


@dataclass(frozen=True)
class PoseGraph:
    """Views (n, 4, 4), world_from_view similarities, and edges between them, all float64 (indices int64).

    free (n,) bool: whether a view may move. Edges (e,): the rows first and second of two views, measured (e, 4, 4)
    first_from_second, and sigmas (e, 7) of its rotation vector (radians), translation and log scale.
    """

    views: np.ndarray
    free: np.ndarray
    first: np.ndarray
    second: np.ndarray
    measured: np.ndarray
    sigmas: np.ndarray

    def compute_residuals(self) -> np.ndarray:
        """Compute the residuals (e, 7) in standard deviations."""
        relative = np.linalg.inv(self.views[self.first]) @ self.views[self.second]
        rotation, translation, scale = split_similarity(np.linalg.inv(self.measured) @ relative)
        vectors = Rotation.from_matrix(rotation).as_rotvec().reshape(-1, 3)
        return np.column_stack((vectors, translation, np.log(scale))) / self.sigmas


def optimize(graph: PoseGraph) -> PoseGraph:
    """Move the free views to (nearly) the least cost; the cost never grows."""
    cost, damping = _compute_cost(graph), DAMPING
    for _ in range(STEPS if graph.free.any() and len(graph.first) else 0):
        candidate = _take_step(graph, damping)
        new = _compute_cost(candidate)
        if new < cost:
            decrease, graph, cost, damping = cost - new, candidate, new, damping * 0.1
            if decrease < _CONVERGED * cost:
                break
        elif (damping := max(damping, 1e-6) * 10) > MAX_DAMPING:
            break
    return graph


def split_similarity(similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split similarities (n, 4, 4) into rotations (n, 3, 3), translations (n, 3) and scales (n,)."""
    scale = np.cbrt(np.linalg.det(similarities[:, :3, :3]))
    return similarities[:, :3, :3] / scale[:, None, None], similarities[:, :3, 3], scale


def _compute_cost(graph: PoseGraph) -> float:
    return float(np.square(graph.compute_residuals()).sum())


def _take_step(graph: PoseGraph, damping: float) -> PoseGraph:
    """Move the free views by a damped step of Gauss-Newton."""
    rows = np.cumsum(graph.free) - 1
    size = DOF * int(graph.free.sum())
    residuals = graph.compute_residuals()
    jacobian = sparse.csr_matrix((residuals.size, size))
    for ends, blocks in zip((graph.first, graph.second), _compute_jacobians(graph), strict=True):
        jacobian = jacobian + _assemble(blocks, np.where(graph.free[ends], rows[ends], -1), size)
    hessian = jacobian.T @ jacobian
    diagonal = sparse.diags(damping * hessian.diagonal() + 1e-9)
    update = -spsolve((hessian + diagonal).tocsc(), jacobian.T @ residuals.ravel()).reshape(-1, DOF)
    views = graph.views.copy()
    views[graph.free] = views[graph.free] @ make_similarities(update)
    return replace(graph, views=views)


def _compute_jacobians(graph: PoseGraph) -> tuple[np.ndarray, np.ndarray]:
    """Compute the derivatives (e, 7, 7) of the residuals by updates of the first and the second view, on their right."""
    relative = np.linalg.inv(graph.views[graph.first]) @ graph.views[graph.second]
    error = np.linalg.inv(graph.measured) @ relative
    turn, _, _ = split_similarity(error)
    inner, shift, _ = split_similarity(relative)
    turning = _invert_right_jacobian(Rotation.from_matrix(turn).as_rotvec().reshape(-1, 3))
    back = np.linalg.inv(graph.measured[:, :3, :3])
    first, second = np.zeros((2, len(error), DOF, DOF))
    first[:, :3, :3], second[:, :3, :3] = -turning @ inner.transpose(0, 2, 1), turning
    first[:, 3:6, :3], first[:, 3:6, 3:6] = back @ skew(shift), -back
    first[:, 3:6, 6], second[:, 3:6, 3:6] = -np.einsum("eij,ej->ei", back, shift), error[:, :3, :3]
    first[:, 6, 6], second[:, 6, 6] = -1, 1
    return first / graph.sigmas[..., None], second / graph.sigmas[..., None]


def _assemble(blocks: np.ndarray, columns: np.ndarray, size: int) -> sparse.csr_matrix:
    """Assemble blocks (e, 7, 7) at their block columns (e,), -1 for none, to a matrix of 7 e rows."""
    kept = np.flatnonzero(columns >= 0)
    axes = np.arange(DOF)
    row = (kept * DOF)[:, None, None] + axes[:, None] + 0 * axes
    column = (columns[kept] * DOF)[:, None, None] + axes + 0 * axes[:, None]
    return sparse.csr_matrix((blocks[kept].ravel(), (row.ravel(), column.ravel())), (DOF * len(blocks), size))


def _invert_right_jacobian(vectors: np.ndarray) -> np.ndarray:
    """Invert the right Jacobian (n, 3, 3) of SO(3) at rotation vectors (n, 3)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    cross = skew(vectors)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    factor = np.where(small, 1 / 12, 1 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.sin(safe)))
    return np.eye(3) + cross / 2 + factor * (cross @ cross)


def make_similarities(updates: np.ndarray) -> np.ndarray:
    """Make similarities (n, 4, 4) of updates (n, 7): rotation vector, translation, log scale."""
    similarities = np.tile(np.eye(4), (len(updates), 1, 1))
    rotation = Rotation.from_rotvec(updates[:, :3]).as_matrix()
    similarities[:, :3, :3] = rotation * np.exp(updates[:, 6])[:, None, None]
    similarities[:, :3, 3] = updates[:, 3:6]
    return similarities
