"""Baseline fusions of 2D masks, and the ceiling.

Each takes the views of a recording in order and yields one id map (H, W) int32 per view, 0 = none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree

from moonseg3r_core.evaluation.ground_truth import View
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.ops.voxels import VoxelHash, compute_voxel_keys


def assign_new_ids(views: Iterable[View]) -> Iterator[np.ndarray]:
    """Assign a new id to every mask: no fusion."""
    next_id = 1
    for view in views:
        rows, count = _compact_labels(view.labels)
        yield np.where(rows >= 0, rows + next_id, 0).astype(np.int32)
        next_id += count


def assign_true_ids(
    views: Iterable[View], points: np.ndarray, instance_ids: np.ndarray, reach: float = 0.1, step: int = 2
) -> Iterator[np.ndarray]:
    """Assign to every mask the true id of most of its pixels: the ceiling of fusion.

    A pixel has the id of the nearest of points (N, 3), instance_ids (N,), within `reach` metres; every `step`-th pixel
    per axis is used.
    """
    tree = cKDTree(points)
    for view in views:
        rows, count = _compact_labels(view.labels)
        mask, positions = _lift_masks(view, rows, step)
        distance, nearest = tree.query(positions, distance_upper_bound=reach)
        near = np.isfinite(distance)
        ids = _find_most_frequent(mask[near], instance_ids[nearest[near]], count)
        yield np.append(ids, 0)[rows].astype(np.int32)


def assign_overlapping_ids(views: Iterable[View], voxel: float = 0.03, min_share: float = 0.3) -> Iterator[np.ndarray]:
    """Assign ids by shared voxels alone, mask by mask in ascending label.

    A mask takes the id of most of its voxels (edge in metres) if that id has more than `min_share` of them, else a new
    one. Then its free voxels take its id.
    """
    hashed = VoxelHash()
    owner = np.zeros(0, dtype=np.int64)
    next_id = 1
    for view in views:
        rows, count = _compact_labels(view.labels)
        mask, positions = _lift_masks(view, rows, 1)
        places = hashed.insert(compute_voxel_keys(torch.from_numpy(positions), voxel)).numpy()
        pairs = np.unique(mask.astype(np.int64) << 32 | places)
        mask, place = pairs >> 32, pairs & 0xFFFFFFFF
        owner = np.append(owner, np.zeros(len(hashed) - len(owner), dtype=np.int64))
        ids = np.zeros(count, dtype=np.int64)
        ends = np.searchsorted(mask, np.arange(count + 1))
        for k in range(count):
            places = place[ends[k] : ends[k + 1]]
            ids[k] = _find_main_owner(owner[places], min_share) or next_id
            next_id = max(next_id, int(ids[k]) + 1)
            owner[places[owner[places] == 0]] = ids[k]
        yield np.append(ids, 0)[rows].astype(np.int32)


def _find_main_owner(owners: np.ndarray, min_share: float) -> int:
    """Find the id of most of a mask's voxels (n,) if it has more than `min_share` of them, else 0."""
    ids, counts = np.unique(owners[owners > 0], return_counts=True)
    best = int(counts.argmax()) if len(ids) else -1
    return int(ids[best]) if best >= 0 and counts[best] > min_share * len(owners) else 0


def _compact_labels(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Convert labels (H, W), 0 = none, to rows 0..M-1, -1 for none; return them and M."""
    values, inverse = np.unique(labels, return_inverse=True)
    mask_of_value = np.cumsum(values > 0) - 1
    return np.where(values > 0, mask_of_value, -1)[inverse.reshape(labels.shape)], int((values > 0).sum())


def _lift_masks(view: View, rows: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Lift the masked pixels with depth, every `step`-th per axis, to rows (n,) and world positions (n, 3)."""
    points = unproject(torch.as_tensor(view.depth), torch.as_tensor(view.intrinsics))
    world = transform(points[::step, ::step], torch.as_tensor(view.world_from_camera)).numpy()
    rows = rows[::step, ::step]
    use = (rows >= 0) & (view.depth[::step, ::step] > 0)
    return rows[use], world[use]


def _find_most_frequent(rows: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Find the most frequent id of each row, 0 for none; (count,) int64."""
    result = np.zeros(count, dtype=np.int64)
    pairs, times = np.unique(rows.astype(np.int64) << 32 | ids.astype(np.int64), return_counts=True)
    order = np.argsort(times, kind="stable")  # the last write wins
    result[pairs[order] >> 32] = pairs[order] & 0xFFFFFFFF
    return result
