"""The true cloud of a sequence, one point a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.ops.voxels import VoxelHash, compute_voxel_keys, grow_rows
from moonseg3r_core.types import Frame

VOXEL = 0.02  # metres
_MOST_IDS = 1 << 20


@dataclass(frozen=True)
class GroundTruth:
    """The true cloud: points (N, 3) float32 metres, instance_ids (N,) int32, structure_ids (floor, ceiling, walls)."""

    points: Tensor
    instance_ids: Tensor
    structure_ids: tuple[int, ...]


class CloudAccumulator:
    """Counts of each id in each voxel over frames, and sums of the positions. A frame costs in proportion to its points."""

    def __init__(self, voxel: float) -> None:
        self.voxel = voxel
        self._cells, self._pairs = VoxelHash(), VoxelHash()
        self._cell = self._id = self._count = torch.zeros(0, dtype=torch.int64)
        self._sum = torch.zeros(0, 3, dtype=torch.float64)

    def add(self, frame: Frame, ids: Tensor) -> None:
        """Add a frame's pixels that have depth, with their exact ids (H, W)."""
        if frame.depth is None or frame.intrinsics is None or frame.world_from_camera is None:
            raise ValueError("a frame of the true cloud must have depth, intrinsics and a pose, got None; render them.")
        seen = frame.depth > 0
        points = transform(unproject(frame.depth, frame.intrinsics), frame.world_from_camera)[seen].cpu()
        owner = ids[seen].cpu().long()
        cell = self._cells.insert(compute_voxel_keys(points, self.voxel))
        pair = self._pairs.insert(cell * _MOST_IDS + owner)
        self._cell, self._id, self._count, self._sum = (
            grow_rows(store, len(self._pairs)) for store in (self._cell, self._id, self._count, self._sum)
        )
        self._cell[pair], self._id[pair] = cell, owner
        self._count.index_add_(0, pair, torch.ones_like(pair))
        self._sum.index_add_(0, pair, points.double())

    def compute_truth(self, structure_ids: tuple[int, ...]) -> GroundTruth:
        """Compute one point a voxel: the mean of the points of its most frequent id, ties to the smaller, with that id."""
        count = len(self._pairs)
        cell, owner, votes = (store[:count].numpy() for store in (self._cell, self._id, self._count))
        order = np.lexsort((owner, -votes, cell))
        first = np.ones(count, dtype=bool)
        first[1:] = np.diff(cell[order]) > 0
        best = torch.from_numpy(order[first])
        points = (self._sum[best] / self._count[best, None]).float()
        return GroundTruth(points, self._id[best].int(), structure_ids)
