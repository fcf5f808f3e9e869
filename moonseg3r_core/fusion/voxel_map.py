"""The labelled map: per voxel, the instance id most often observed there; ties go to the newest (decision 12)."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.voxels import VoxelHash, grown, voxel_keys

_IDS = 1 << 24  # room for ids beside a voxel's row in one int64 key


class VoxelMap:
    """Votes of instance ids per voxel, mean position and color; grows with the space seen, not with time."""

    def __init__(self, voxel: float, device: torch.device | str = "cpu") -> None:
        self.voxel, self.device = voxel, torch.device(device)
        self._voxels = VoxelHash(device=device)
        self._sums = torch.zeros(0, 7, device=device)  # x y z r g b, observations
        self._top = torch.zeros(0, 2, dtype=torch.int64, device=device)  # the leading id and its votes
        self._pairs = VoxelHash(device=device)  # (voxel, id) -> row of votes
        self._votes = torch.zeros(0, 2, dtype=torch.int64, device=device)  # votes, time of the newest
        self._pair_keys = torch.zeros(0, dtype=torch.int64, device=device)
        self._time = 0

    def __len__(self) -> int:
        return len(self._voxels)

    def ids_at(self, points: Tensor) -> Tensor:
        """The leading id (N,) int64 at points (N, 3); 0 where nothing, or nothing labelled, was seen before."""
        rows = self._voxels.find(voxel_keys(points, self.voxel))
        return torch.where(rows >= 0, self._top[rows.clamp(min=0), 0], 0) if len(self) else torch.zeros_like(rows)

    def observe(self, points: Tensor, colors: Tensor, ids: Tensor) -> None:
        """Count one frame's points (N, 3), colors (N, 3) uint8 and ids (N,) int64, 0 = unlabelled."""
        self._time += 1
        keys, inverse = torch.unique(voxel_keys(points, self.voxel), return_inverse=True)
        rows = self._voxels.insert(keys)
        self._sums = grown(self._sums, len(self._voxels))
        self._top = grown(self._top, len(self._voxels))
        values = torch.cat((points, colors.to(points), torch.ones_like(points[:, :1])), dim=1)
        totals = torch.zeros(len(keys), 7, device=points.device).index_add_(0, inverse, values)
        self._sums[rows] += totals
        labelled = ids > 0
        self._vote(rows[inverse[labelled]], ids[labelled])

    def _vote(self, rows: Tensor, ids: Tensor) -> None:
        keys, counts = torch.unique(rows * _IDS + ids, return_counts=True)
        pairs = self._pairs.insert(keys)
        self._votes = grown(self._votes, len(self._pairs))
        self._pair_keys = grown(self._pair_keys, len(self._pairs))
        self._pair_keys[pairs] = keys
        self._votes[pairs, 0] += counts
        self._votes[pairs, 1] = self._time
        voxels, voted = keys // _IDS, keys % _IDS
        votes = self._votes[pairs, 0]
        best = best_of_groups(voxels, votes)
        best = best[votes[best] >= self._top[voxels[best], 1]]
        self._top[voxels[best]] = torch.stack((voted[best], votes[best]), dim=1)

    def rename(self, old: int, new: int) -> None:
        """Every voxel that `old` leads is led by `new` from now on; its votes are summed in `labels`."""
        self._top[self._top[:, 0] == old, 0] = new

    def points(self) -> tuple[Tensor, Tensor]:
        """Mean positions (N, 3) float32 and mean colors (N, 3) uint8 of all voxels."""
        sums = self._sums[: len(self)]
        means = sums[:, :6] / sums[:, 6:].clamp(min=1)
        return means[:, :3], means[:, 3:].round().clamp(0, 255).to(torch.uint8)

    def labels(self, final: Tensor) -> tuple[Tensor, Tensor]:
        """The id (N,) int32 of every voxel and the share (N,) float32 of its observations that voted for it.

        `final` (largest id + 1,) int64 says which id each id goes by now.
        """
        count = len(self._pairs)
        voxels, ids = self._pair_keys[:count] // _IDS, final[self._pair_keys[:count] % _IDS]
        keys, inverse = torch.unique(voxels * _IDS + ids, return_inverse=True)
        votes = torch.zeros(len(keys), dtype=torch.int64, device=keys.device).index_add_(
            0, inverse, self._votes[:count, 0]
        )
        newest = torch.zeros_like(votes).scatter_reduce_(0, inverse, self._votes[:count, 1], "amax")
        best = best_of_groups(keys // _IDS, votes, newest)
        labels = torch.zeros(len(self), dtype=torch.int32, device=keys.device)
        won = torch.zeros(len(self), device=keys.device)
        labels[keys[best] // _IDS] = (keys[best] % _IDS).int()
        won[keys[best] // _IDS] = votes[best].float()
        return labels, won / self._sums[: len(self), 6].clamp(min=1)


def best_of_groups(groups: Tensor, *ranks: Tensor) -> Tensor:
    """One index per distinct value of groups (N,): its highest by the first rank, ties by the next, then the last."""
    order = torch.arange(len(groups), device=groups.device)
    for rank in (*reversed(ranks), groups):
        order = order[torch.argsort(rank[order], stable=True)]
    ordered = groups[order]
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return order[last]
