"""Scores of a reconstruction against the truth, as pure functions: depth, the camera's path, the cloud. Metres.

Where nothing is compared the score is NaN.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from moonseg3r_core.geometry import align_similarity
from moonseg3r_core.ops.voxels import compute_voxel_keys


def depth_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """The one scale of a sequence: the median of true / predicted depth, both (N,), over its pixels before the camera.

    It is the scale of least mean |log(scale * predicted) - log(true)|, whatever the outliers.
    """
    ahead = predicted > 0
    return float(np.median(true[ahead] / predicted[ahead])) if ahead.any() else np.nan


def abs_rel(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean of |predicted - true| / true over depths (N,), the true ones above 0 (Eigen et al. 2014)."""
    return _mean(np.abs(predicted - true) / true)


def delta(predicted: np.ndarray, true: np.ndarray, factor: float = 1.25) -> float:
    """Share of depths (N,) within `factor` of the true ones, strictly (Eigen et al. 2014); none behind the camera is."""
    return _mean((predicted < factor * true) & (true < factor * predicted))


def constant_guess(true: np.ndarray) -> float:
    """The one depth for every pixel with the least abs-rel: the median of depths (N,), weighted by 1 / depth."""
    if not len(true):
        return np.nan
    order = np.sort(true.astype(np.float64))
    weight = np.cumsum(1 / order)
    return float(order[np.searchsorted(weight, weight[-1] / 2)])


def aligned(estimated: Tensor, true: Tensor) -> Tensor:
    """Poses (F, 4, 4) moved by the similarity that lays their centres best over those of the true poses (Umeyama)."""
    scale, rotation, translation = align_similarity(estimated[:, :3, 3], true[:, :3, 3])
    moved = estimated.clone()
    moved[:, :3, :3] = rotation @ estimated[:, :3, :3]
    moved[:, :3, 3] = scale * estimated[:, :3, 3] @ rotation.T + translation
    return moved


def path_length(poses: Tensor) -> float:
    """Metres that the camera of poses (F, 4, 4) went."""
    return float(poses[:, :3, 3].diff(dim=0).norm(dim=1).sum())


def absolute_error(estimated: Tensor, true: Tensor) -> float:
    """ATE: RMS distance of the centres of aligned poses from those of the true ones, both (F, 4, 4) (Sturm et al. 2012)."""
    return _rms((estimated - true)[:, :3, 3].norm(dim=1).numpy())


def relative_error(estimated: Tensor, true: Tensor) -> tuple[float, float]:
    """RPE: RMS metres and degrees by which the steps from pose to pose of aligned poses differ from the true steps, both
    (F, 4, 4) (Sturm et al. 2012).
    """
    off = torch.linalg.inv(_steps(true)) @ _steps(estimated)
    turns = Rotation.from_matrix(off[:, :3, :3].numpy()).magnitude() if len(off) else np.zeros(0)
    return _rms(off[:, :3, 3].norm(dim=1).numpy()), float(np.rad2deg(_rms(turns)))


def thinned(points: np.ndarray, voxel: float) -> np.ndarray:
    """Of points (N, 3) the first in every voxel of that edge, in their order. Thinned parts, joined and thinned, are what
    the whole is when thinned.
    """
    keys = compute_voxel_keys(torch.from_numpy(points), voxel).numpy()
    return points[np.sort(np.unique(keys, return_index=True)[1])]


def cloud_distances(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (N,) and completeness (M,): from every predicted point (N, 3) to the nearest true one, from every true
    point (M, 3) to the nearest predicted one. Without a predicted point: none, and infinitely far.
    """
    return cKDTree(true).query(predicted)[0], cKDTree(predicted).query(true)[0]


def f_score(accuracy: np.ndarray, completeness: np.ndarray, threshold: float) -> float:
    """Harmonic mean of the shares of both distances below `threshold` (Knapitsch et al. 2017); 0 without a predicted
    point.
    """
    if not len(completeness):
        return np.nan
    precision = _mean(accuracy < threshold) if len(accuracy) else 0.0
    recall = _mean(completeness < threshold)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _steps(poses: Tensor) -> Tensor:
    """The motion (F - 1, 4, 4) from each pose to the next, in the axes of the former."""
    return torch.linalg.inv(poses[:-1]) @ poses[1:]


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else np.nan


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(_mean(values**2)))
