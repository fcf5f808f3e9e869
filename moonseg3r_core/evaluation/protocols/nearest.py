"""Protocol `nearest`: transfer the ids of the predicted map, aligned by its trajectory."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.geometry import align_similarity

_MIN_BREADTH = 1e-3  # of the camera path, as a share of its length: a straighter one leaves its roll ambiguous


def align_map(points: np.ndarray, predicted: Tensor, true: Tensor) -> np.ndarray:
    """Move map points (M, 3) by the similarity that aligns the predicted camera centres (F, 3) with the true ones (F, 3).

    Raises InputError where the centres leave it ambiguous.
    """
    spread = torch.linalg.svdvals(true.double() - true.double().mean(0)) if len(true) >= 3 else torch.zeros(3)
    if not float(spread[1]) > _MIN_BREADTH * float(spread[0]):
        raise InputError(
            f"protocol nearest needs 3 or more common poses that do not lie on one line, got {len(true)}; "
            "use a recording with a moving camera, or --protocol project."
        )
    scale, rotation, translation = align_similarity(predicted, true)
    return scale * points.astype(np.float64) @ rotation.numpy().T + translation.numpy()


def transfer_nearest_labels(
    points: np.ndarray, map_points: np.ndarray, map_ids: np.ndarray, distance: float
) -> np.ndarray:
    """Label each of points (N, 3) with the id of the nearest map point within `distance` metres, else 0; (N,) int32."""
    if not len(map_points):
        return np.zeros(len(points), dtype=np.int32)
    apart, nearest = cKDTree(map_points).query(points, distance_upper_bound=distance)
    return np.append(map_ids, 0)[np.where(np.isfinite(apart), nearest, -1)].astype(np.int32)
