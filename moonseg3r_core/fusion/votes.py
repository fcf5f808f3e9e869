"""Votes of instance ids per voxel: the id most often observed there, ties to the newest (decision 12)."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.voxels import VoxelHash, grown, voxel_keys

_IDS = 1 << 24  # room for ids beside a voxel's row in one int64 key


class VoteGrid:
    """Counts of ids per voxel of edge `voxel` metres; grows with the space seen, not with time."""

    def __init__(self, voxel: float, device: torch.device | str = "cpu") -> None:
        self.voxel, self.device = voxel, torch.device(device)
        self._voxels = VoxelHash(device=device)
        self._leaders = torch.zeros(0, 2, dtype=torch.int64, device=device)  # the leading id of a voxel and its votes
        self._pairs = VoxelHash(device=device)  # (voxel, id) -> row of votes
        self._pair_keys = torch.zeros(0, dtype=torch.int64, device=device)
        self._votes = torch.zeros(0, 2, dtype=torch.int64, device=device)  # votes, time of the newest
        self._time = 0

    def __len__(self) -> int:
        return len(self._voxels)

    def ids_at(self, points: Tensor) -> Tensor:
        """The leading id (N,) int64 at points (N, 3); 0 where nothing, or nothing labelled, was seen before."""
        rows = self._voxels.find(voxel_keys(points, self.voxel))
        return torch.where(rows >= 0, self._leaders[rows.clamp(min=0), 0], 0) if len(self) else torch.zeros_like(rows)

    def observe(self, points: Tensor, ids: Tensor) -> Tensor:
        """Count one frame's ids (N,) int64 at points (N, 3), 0 = unlabelled; the voxel rows (N,) of the points."""
        self._time += 1
        rows = self._voxels.insert(voxel_keys(points, self.voxel))
        self._leaders = grown(self._leaders, len(self))
        labelled = ids > 0
        self._count(rows[labelled] * _IDS + ids[labelled])
        return rows

    def _count(self, keys: Tensor) -> None:
        every = self._pairs.insert(keys)
        self._votes = grown(self._votes, len(self._pairs))
        self._pair_keys = grown(self._pair_keys, len(self._pairs))
        self._pair_keys[every] = keys
        pairs, counts = torch.unique(every, return_counts=True)
        self._votes[pairs, 0] += counts
        self._votes[pairs, 1] = self._time
        voxels, ids, votes = self._pair_keys[pairs] // _IDS, self._pair_keys[pairs] % _IDS, self._votes[pairs, 0]
        best = best_of_groups(voxels, votes)
        best = best[votes[best] >= self._leaders[voxels[best], 1]]
        self._leaders[voxels[best]] = torch.stack((ids[best], votes[best]), dim=1)

    def rename(self, old: int, new: int) -> None:
        """Every voxel that `old` leads is led by `new` from now on; `leaders` sums their votes."""
        self._leaders[self._leaders[:, 0] == old, 0] = new

    def leaders(self, final: Tensor) -> tuple[Tensor, Tensor]:
        """The leading id (N,) int32 of every voxel row, 0 where none voted, and its votes (N,) float32.

        `final` (largest id + 1,) int64 holds the id that each id goes by; votes of one such id count together.
        """
        count = len(self._pairs)
        held = self._pair_keys[:count]
        keys, inverse = torch.unique(held // _IDS * _IDS + final[held % _IDS], return_inverse=True)
        votes = torch.zeros_like(keys).index_add_(0, inverse, self._votes[:count, 0])
        newest = torch.zeros_like(keys).scatter_reduce_(0, inverse, self._votes[:count, 1], "amax")
        best = best_of_groups(keys // _IDS, votes, newest)
        labels = torch.zeros(len(self), dtype=torch.int32, device=keys.device)
        won = torch.zeros(len(self), device=keys.device)
        labels[keys[best] // _IDS] = (keys[best] % _IDS).int()
        won[keys[best] // _IDS] = votes[best].float()
        return labels, won


def best_of_groups(groups: Tensor, *ranks: Tensor) -> Tensor:
    """One index per distinct value of groups (N,): its highest by the first rank, ties by the next, then the last."""
    order = torch.arange(len(groups), device=groups.device)
    for rank in (*reversed(ranks), groups):
        order = order[torch.argsort(rank[order], stable=True)]
    ordered = groups[order]
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return order[last]
