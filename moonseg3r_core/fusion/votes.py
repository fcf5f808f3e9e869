"""Votes of instance ids per voxel; the most frequent id wins, of equals the newest (docs/decisions.md, 12)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.ops.anchors import find_moved, read_anchors
from moonseg3r_core.ops.voxels import VoxelHash, compute_voxel_keys, grow_rows
from moonseg3r_core.runtime.state import State, are_within, cpu_copy, load_parts, prefix_states, read_tensor, require
from moonseg3r_core.types import Corrections

MOST_IDS = 1 << 24  # space for ids beside a voxel's row in one int64 key

_CANDIDATES = 4  # ids with votes that a voxel keeps


@dataclass(frozen=True)
class Removal:
    """Rows that were removed: the last ones, `sources` (m,), took their `places` (m,); rows from `left` on are free."""

    places: Tensor
    sources: Tensor
    left: int

    def apply(self, column: Tensor) -> None:
        """Do the same to another column of the rows; the free ones are 0."""
        column[self.places] = column[self.sources]
        column[self.left :] = 0


class VoteGrid:
    """Counts of ids per voxel of edge `voxel` metres; memory grows with the space seen, not with time.

    A voxel counts up to `_CANDIDATES` ids; one more replaces the id with the fewest votes. It hangs on the key view that
    saw it first: what a later one adds lies in the same voxel, and a later one that has drifted must not take it along.
    """

    def __init__(self, voxel: float, device: torch.device | str) -> None:
        self.voxel, self.device = voxel, torch.device(device)
        self._voxels = VoxelHash(device=device)
        # Per voxel and candidate: id, votes, frame of the newest vote.
        self._ids, self._votes, self._seen = (
            torch.zeros(0, _CANDIDATES, dtype=torch.int64, device=device) for _ in range(3)
        )
        self._anchors = torch.zeros(0, dtype=torch.int64, device=device)
        self._changed = torch.zeros(0, dtype=torch.bool, device=device)
        self._time = 0

    def __len__(self) -> int:
        return len(self._voxels)

    def find_ids(self, points: Tensor) -> Tensor:
        """Find the winning id (N,) int64 at points (N, 3); 0 where nothing, or nothing labelled, was seen before."""
        rows = self._voxels.find(compute_voxel_keys(points, self.voxel))
        ids = torch.zeros_like(rows)
        known = rows >= 0
        ids[known] = self.find_winners(rows[known])[0]
        return ids

    def find_winners(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Find the winning id of voxel rows (N,), 0 without votes, and its votes; both (N,) int64."""
        ids, votes, seen = (column[: len(self)][rows] for column in (self._ids, self._votes, self._seen))
        rank = votes << 32 | seen
        best = rank.amax(1, keepdim=True)
        return torch.where(rank == best, ids, 0).amax(1), best[:, 0] >> 32

    def observe(self, points: Tensor, ids: Tensor, anchor: int = 0) -> Tensor:
        """Count one frame's ids (N,) int64 at points (N, 3), 0 = unlabelled, that hang on a key view.

        Returns the voxel rows (N,) of the points.
        """
        self._time += 1
        before, rows = len(self), self._insert(points)
        self._anchors[before : len(self)] = anchor
        labelled = ids > 0
        pairs, counts = torch.unique(rows[labelled] * MOST_IDS + ids[labelled], return_counts=True)
        self._add_pairs(pairs, counts, torch.full_like(counts, self._time))
        return rows

    def find_moved(self, corrections: Corrections) -> tuple[Tensor, Tensor]:
        """Find the voxel rows (n,) that moved, and the new_from_old (n, 4, 4) of each."""
        return find_moved(self._anchors[: len(self)], corrections)

    def move(self, rows: Tensor, points: Tensor) -> tuple[Removal, Tensor]:
        """Move distinct voxel rows (n,) to points (n, 3); those that fall together become one and add their votes.

        Returns how they were removed, and the rows (n,) that they have then.
        """
        columns = self._ids, self._votes, self._seen, self._anchors
        ids, votes, seen, anchors = (column[rows] for column in columns)
        removal = Removal(*self._voxels.remove(rows), len(self))
        for column in (*columns, self._changed):
            removal.apply(column)
        self._changed[removal.places] = True
        new = self._insert(points)
        fresh = new >= removal.left
        self._anchors.scatter_reduce_(0, new[fresh], anchors[fresh], "amin", include_self=False)
        cast = votes > 0
        pairs, pair = torch.unique((new[:, None] * MOST_IDS + ids)[cast], return_inverse=True)
        total, newest = torch.zeros_like(pairs), torch.zeros_like(pairs)
        total.index_add_(0, pair, votes[cast])
        self._add_pairs(pairs, total, newest.scatter_reduce_(0, pair, seen[cast], "amax"))
        return removal, new

    def _insert(self, points: Tensor) -> Tensor:
        """Insert the voxels of points (N, 3); return their rows (N,)."""
        rows = self._voxels.insert(compute_voxel_keys(points, self.voxel))
        self._ids, self._votes, self._seen = (grow_rows(t, len(self)) for t in (self._ids, self._votes, self._seen))
        self._anchors, self._changed = (grow_rows(t, len(self)) for t in (self._anchors, self._changed))
        self._changed[rows] = True
        return rows

    def _add_pairs(self, pairs: Tensor, votes: Tensor, seen: Tensor) -> None:
        """Add votes (n,), the newest of frame seen (n,), of distinct, rising pairs (n,): row * MOST_IDS + id."""
        voxels = pairs // MOST_IDS
        nth = torch.arange(len(pairs), device=pairs.device) - torch.searchsorted(voxels, voxels)
        for n in range(int(nth.max()) + 1 if len(nth) else 0):
            turn = nth == n  # one id per voxel at a time
            self._add_votes(voxels[turn], pairs[turn] % MOST_IDS, votes[turn], seen[turn])

    def _add_votes(self, voxels: Tensor, ids: Tensor, votes: Tensor, seen: Tensor) -> None:
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
        """Return the voxels, their counts and key views row by row, and the number of frames."""
        counts = {"ids": self._ids, "votes": self._votes, "seen": self._seen, "anchors": self._anchors}
        rows = {name: cpu_copy(values[: len(self)]) for name, values in counts.items()}
        return {**prefix_states(voxels=self._voxels.state_dict()), **rows, "time": torch.tensor(self._time)}

    def load_state_dict(self, state: State) -> None:
        """Restore saved votes; those of older files hang on no key view. Raises InputError for an incomplete state."""
        load_parts(state, voxels=self._voxels)
        shape = (len(self._voxels), self._ids.shape[1])
        ids, votes, seen = (read_tensor(state, name, shape, device=self.device) for name in ("ids", "votes", "seen"))
        time = int(read_tensor(state, "time", ()))
        require(are_within(ids, 0, MOST_IDS), f"ids must be from 0 to {MOST_IDS - 1}")
        require(are_within(votes, 0, 1 << 31), "votes must be from 0 to 2^31 - 1")
        require(0 <= time < 1 << 32 and are_within(seen, 0, time + 1), "seen must be from 0 to time, below 2^32")
        self._ids, self._votes, self._seen, self._time = ids, votes, seen, time
        self._anchors = read_anchors(state, len(self), self.device)
        self._changed = torch.ones(len(self), dtype=torch.bool, device=self.device)

    def has_only(self, ids: Tensor) -> bool:
        """Return whether all votes are for ids (n,)."""
        return bool(torch.isin(self._ids[self._votes > 0], ids).all())

    def take_changed(self) -> Tensor:
        """Return the voxel rows (n,), rising, that were observed or renamed since the last call."""
        rows = torch.nonzero(self._changed)[:, 0]
        self._changed[rows] = False
        return rows

    def rename(self, old: int, new: int) -> None:
        """Turn the votes of `old` into votes of `new`."""
        voxels, place = torch.nonzero(self._ids == old, as_tuple=True)
        self._changed[voxels] = True
        votes, seen = self._votes[voxels, place], self._seen[voxels, place]
        for column in (self._ids, self._votes, self._seen):
            column[voxels, place] = 0
        self._add_votes(voxels, torch.full_like(voxels, new), votes, seen)

    def remove_votes(self, ids: Tensor) -> None:
        """Remove the votes of ids (n,) that win nowhere, so that no tie lets them win later."""
        removed = torch.isin(self._ids, ids)
        for column in (self._ids, self._votes, self._seen):
            column[removed] = 0
