"""Votes of instance ids per voxel: the id most often observed there, ties to the newest (docs/decisions.md, 12)."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.ops.voxels import VoxelHash, compute_voxel_keys, grow_rows
from moonseg3r_core.runtime.state import State, are_within, cpu_copy, load_parts, prefix_states, read_tensor, require

MOST_IDS = 1 << 24  # space for ids beside a voxel's row in one int64 key

_CANDIDATES = 4  # ids with votes that a voxel keeps


class VoteGrid:
    """Counts of ids per voxel of edge `voxel` metres; grows with the space seen, not with time.

    A voxel counts up to `candidates` ids; one more takes the place of the least voted, so that masks that err
    for hours cost no memory.
    """

    def __init__(self, voxel: float, device: torch.device | str) -> None:
        self.voxel, self.device = voxel, torch.device(device)
        self._voxels = VoxelHash(device=device)
        # Per voxel and candidate: id, votes, frame of the newest vote.
        self._ids, self._votes, self._seen = (
            torch.zeros(0, _CANDIDATES, dtype=torch.int64, device=device) for _ in range(3)
        )
        self._changed = torch.zeros(0, dtype=torch.bool, device=device)
        self._time = 0

    def __len__(self) -> int:
        return len(self._voxels)

    def ids_at(self, points: Tensor) -> Tensor:
        """The leading id (N,) int64 at points (N, 3); 0 where nothing, or nothing labelled, was seen before."""
        rows = self._voxels.find(compute_voxel_keys(points, self.voxel))
        ids = torch.zeros_like(rows)
        known = rows >= 0
        ids[known] = self.leaders(rows[known])[0]
        return ids

    def leaders(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The leading id of voxel rows (N,), 0 where none voted, and its votes; both (N,) int64."""
        ids, votes, seen = (counted[: len(self)][rows] for counted in (self._ids, self._votes, self._seen))
        rank = votes << 32 | seen
        best = rank.amax(1, keepdim=True)
        return torch.where(rank == best, ids, 0).amax(1), best[:, 0] >> 32

    def observe(self, points: Tensor, ids: Tensor) -> Tensor:
        """Count one frame's ids (N,) int64 at points (N, 3), 0 = unlabelled; the voxel rows (N,) of the points."""
        self._time += 1
        rows = self._voxels.insert(compute_voxel_keys(points, self.voxel))
        self._ids, self._votes, self._seen = (grow_rows(t, len(self)) for t in (self._ids, self._votes, self._seen))
        self._changed = grow_rows(self._changed, len(self))
        self._changed[rows] = True
        labelled = ids > 0
        pairs, counts = torch.unique(rows[labelled] * MOST_IDS + ids[labelled], return_counts=True)
        voxels = pairs // MOST_IDS
        nth = torch.arange(len(pairs), device=pairs.device) - torch.searchsorted(voxels, voxels)
        for n in range(int(nth.max()) + 1 if len(nth) else 0):
            turn = nth == n  # one id per voxel at a time
            self._vote(voxels[turn], pairs[turn] % MOST_IDS, counts[turn], torch.full_like(counts[turn], self._time))
        return rows

    def _vote(self, voxels: Tensor, ids: Tensor, votes: Tensor, seen: Tensor) -> None:
        """Add votes (n,) of ids (n,), the newest of frame seen (n,), in distinct voxels (n,)."""
        before, last = self._votes[voxels], self._seen[voxels]
        same = self._ids[voxels] == ids[:, None]
        known = same.any(1)
        least = (before << 32 | last).argmin(1)  # free places have no votes
        place = torch.where(known, same.int().argmax(1), least)
        own = torch.arange(len(voxels), device=voxels.device), place
        self._ids[voxels, place] = ids
        self._votes[voxels, place] = votes + torch.where(known, before[own], 0)
        self._seen[voxels, place] = torch.maximum(seen, torch.where(known, last[own], 0))

    def state_dict(self) -> dict[str, Tensor]:
        """The voxels and their counts, row by row, and how many frames were counted."""
        counts = {"ids": self._ids, "votes": self._votes, "seen": self._seen}
        rows = {name: cpu_copy(values[: len(self)]) for name, values in counts.items()}
        return {**prefix_states(voxels=self._voxels.state_dict()), **rows, "time": torch.tensor(self._time)}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` gave."""
        load_parts(state, voxels=self._voxels)
        shape = (len(self._voxels), self._ids.shape[1])
        ids, votes, seen = (read_tensor(state, name, shape, device=self.device) for name in ("ids", "votes", "seen"))
        time = int(read_tensor(state, "time", ()))
        require(are_within(ids, 0, MOST_IDS), f"ids must be from 0 to {MOST_IDS - 1}")
        require(are_within(votes, 0, 1 << 31), "votes must be from 0 to 2^31 - 1")
        require(0 <= time < 1 << 32 and are_within(seen, 0, time + 1), "seen must be from 0 to time, below 2^32")
        self._ids, self._votes, self._seen, self._time = ids, votes, seen, time
        self._changed = torch.ones(len(self), dtype=torch.bool, device=self.device)

    def has_only(self, ids: Tensor) -> bool:
        """Whether all votes are for ids (n,)."""
        return bool(torch.isin(self._ids[self._votes > 0], ids).all())

    def take_changed(self) -> Tensor:
        """The voxel rows (n,), rising, that were observed or renamed since this was asked last."""
        rows = torch.nonzero(self._changed)[:, 0]
        self._changed[rows] = False
        return rows

    def rename(self, old: int, new: int) -> None:
        """The votes of `old` are votes of `new` from now on."""
        voxels, place = torch.nonzero(self._ids == old, as_tuple=True)
        self._changed[voxels] = True
        votes, seen = self._votes[voxels, place], self._seen[voxels, place]
        for counted in (self._ids, self._votes, self._seen):
            counted[voxels, place] = 0
        self._vote(voxels, torch.full_like(voxels, new), votes, seen)

    def strike(self, ids: Tensor) -> None:
        """Take back the votes of ids (n,) that lead nowhere, so that no tie lets them lead later."""
        struck = torch.isin(self._ids, ids)
        for counted in (self._ids, self._votes, self._seen):
            counted[struck] = 0
