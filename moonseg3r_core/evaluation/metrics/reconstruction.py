"""Errors of depth, camera path and cloud against the truth, in metres. Without anything to compare they are NaN."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from moonseg3r_core.geometry import align_similarity
from moonseg3r_core.ops.voxels import find_first_in_voxels


def compute_depth_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """Compute the median of true / predicted depth, both (N,), over predicted depths above 0.

    This scale minimises the mean |log(scale * predicted) - log(true)|.
    """
    ahead = predicted > 0
    return float(np.median(true[ahead] / predicted[ahead])) if ahead.any() else np.nan


def compute_abs_rel(predicted: np.ndarray, true: np.ndarray) -> float:
    """Compute the mean of |predicted - true| / true over depths (N,), the true ones above 0 (Eigen et al. 2014)."""
    return _mean(np.abs(predicted - true) / true)


def compute_median_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Compute the median of |predicted - true| / true over depths (N,), the true ones above 0."""
    return compute_median(np.abs(predicted - true) / true)


def compute_delta(predicted: np.ndarray, true: np.ndarray, factor: float = 1.25) -> float:
    """Compute the share of depths (N,) strictly within `factor` of the true ones (Eigen et al. 2014)."""
    return _mean((predicted < factor * true) & (true < factor * predicted))


def fit_constant_depth(true: np.ndarray) -> float:
    """Fit the constant depth of the least abs-rel: the median of depths (N,), weighted by 1 / depth."""
    if not len(true):
        return np.nan
    order = np.sort(true.astype(np.float64))
    weight = np.cumsum(1 / order)
    return float(order[np.searchsorted(weight, weight[-1] / 2)])


def align_poses(estimated: Tensor, true: Tensor) -> Tensor:
    """Move poses (F, 4, 4) by the similarity that aligns their centres best with those of the true poses (Umeyama)."""
    scale, rotation, translation = align_similarity(estimated[:, :3, 3], true[:, :3, 3])
    moved = estimated.clone()
    moved[:, :3, :3] = rotation @ estimated[:, :3, :3]
    moved[:, :3, 3] = scale * estimated[:, :3, 3] @ rotation.T + translation
    return moved


def compute_path_length(poses: Tensor) -> float:
    """Compute the path length of poses (F, 4, 4), metres."""
    return float(poses[:, :3, 3].diff(dim=0).norm(dim=1).sum())


def compute_ate(estimated: Tensor, true: Tensor) -> float:
    """Compute ATE: the RMS distance of the centres of aligned and true poses, both (F, 4, 4) (Sturm et al. 2012)."""
    return _rms((estimated - true)[:, :3, 3].norm(dim=1).numpy())


def compute_rpe(estimated: Tensor, true: Tensor) -> tuple[float, float]:
    """Compute RPE: the RMS error, metres and degrees, of the motions between consecutive aligned poses (Sturm et al. 2012).

    Both are (F, 4, 4).
    """
    off = torch.linalg.inv(_compute_steps(true)) @ _compute_steps(estimated)
    turns = Rotation.from_matrix(off[:, :3, :3].numpy()).magnitude() if len(off) else np.zeros(0)
    return _rms(off[:, :3, 3].norm(dim=1).numpy()), float(np.rad2deg(_rms(turns)))


def thin_points(points: np.ndarray, voxel: float) -> np.ndarray:
    """Keep the first of points (N, 3) in every voxel of edge `voxel` metres, in their order."""
    return points[find_first_in_voxels(torch.from_numpy(points), voxel)]


def measure_cloud_distances(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure accuracy (N,), from predicted points (N, 3) to the nearest true ones, and completeness (M,), the reverse.

    Without a predicted point completeness is infinite.
    """
    return cKDTree(true).query(predicted)[0], cKDTree(predicted).query(true)[0]


def compute_f_score(accuracy: np.ndarray, completeness: np.ndarray, threshold: float) -> float:
    """Compute the harmonic mean of the shares of both distances below `threshold` (Knapitsch et al. 2017).

    It is 0 without a predicted point.
    """
    if not len(completeness):
        return np.nan
    precision = _mean(accuracy < threshold) if len(accuracy) else 0.0
    recall = _mean(completeness < threshold)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def compute_median(values: np.ndarray) -> float:
    """Compute the median of values (N,)."""
    return float(np.median(values)) if len(values) else np.nan


def _compute_steps(poses: Tensor) -> Tensor:
    """Compute the motion (F - 1, 4, 4) from each pose to the next, in the axes of the former."""
    return torch.linalg.inv(poses[:-1]) @ poses[1:]


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else np.nan


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(_mean(values**2)))
