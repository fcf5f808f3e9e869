"""The votes in which overlap is measured: a coarse grid that follows key views, and instances that meet as it does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from moonseg3r_core.fusion.votes import VoteGrid
from moonseg3r_core.ops.anchors import move_points
from moonseg3r_core.ops.voxels import compute_voxel_centers, compute_voxel_keys, grow_rows
from moonseg3r_core.runtime.state import State, cpu_copy, read_tensor
from moonseg3r_core.types import Corrections

MIN_MET, MIN_SHARE = 5, 0.5  # voxels in which two instances meet, and their share of either's that meet any


class OverlapVotes(VoteGrid):
    """Votes of which each voxel remembers its first point (3,): the centre of a coarse voxel lies off the surface."""

    def __init__(self, voxel: float, device: torch.device | str) -> None:
        super().__init__(voxel, device)
        self._points = torch.zeros(0, 3, device=device)

    def observe(self, points: Tensor, ids: Tensor, anchor: int = 0) -> Tensor:
        """Count one frame's ids as `VoteGrid.observe` does."""
        before, rows = len(self), super().observe(points, ids, anchor)
        self._keep_first(rows, points, before)
        return rows

    def correct(self, corrections: Corrections) -> Iterator[tuple[int, int]]:
        """Place anew what hangs on key views that moved; return the pairs of instances that become one."""
        rows, moves = self.find_moved(corrections)
        old = self._points[rows]
        points = move_points(old, moves)
        met = self._find_meetings(rows, points - old, compute_voxel_keys(points, self.voxel))
        removal, new = self.move(rows, points)
        removal.apply(self._points)
        self._keep_first(new, points, removal.left)
        return find_joins(*met)

    def _keep_first(self, rows: Tensor, points: Tensor, before: int) -> None:
        """Keep the first of points (N, 3) in each voxel of rows (N,) that is new, from row `before` on."""
        self._points = grow_rows(self._points, len(self))
        fresh = torch.nonzero(rows >= before)[:, 0]
        first = torch.zeros(len(self) - before, dtype=torch.int64, device=rows.device)
        first.scatter_reduce_(0, rows[fresh] - before, fresh, "amin", include_self=False)
        self._points[before : len(self)] = points[first]

    def _find_meetings(self, rows: Tensor, shifts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Find where voxels meet that lay apart before: the place (m,) and the winning id (m,) of each of these voxels.

        rows (n,), shifts (n, 3) and new keys (n,) of the voxels that move. Neighbours that fall together by the grid
        alone are shifted alike and do not count.
        """
        there = self._voxels.find(keys)
        moves = torch.zeros(len(self) + 1, dtype=torch.bool, device=keys.device)
        moves[rows] = moves[-1] = True
        stays = ~moves[there]
        keys, place = torch.unique(torch.cat((keys, keys[stays])), return_inverse=True)
        shifts = torch.cat((shifts, torch.zeros_like(shifts[stays])))
        ids = self.find_winners(torch.cat((rows, there[stays])))[0]
        columns, none = place[:, None].expand(-1, 3), shifts.new_zeros(len(keys), 3)
        least = none.scatter_reduce(0, columns, shifts, "amin", include_self=False)
        most = none.scatter_reduce(0, columns, shifts, "amax", include_self=False)
        apart = ((most - least).norm(dim=1) > self.voxel)[place] & (ids > 0)
        return place[apart], ids[apart]

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "points": cpu_copy(self._points[: len(self)])}

    def load_state_dict(self, state: State) -> None:
        """Restore saved votes; voxels of older files have their centre as their point."""
        super().load_state_dict(state)
        known = state if "points" in state else {"points": compute_voxel_centers(self._voxels.keys, self.voxel).cpu()}
        self._points = read_tensor(known, "points", (len(self), 3), torch.float32, device=self.device)


def find_joins(places: Tensor, ids: Tensor) -> Iterator[tuple[int, int]]:
    """Find the pairs of ids that are mostly met by each other, in voxels (n,) with an id (n,) each."""
    known, column = np.unique(ids.cpu().numpy(), return_inverse=True)
    _, row = np.unique(places.cpu().numpy(), return_inverse=True)
    table = sparse.csr_matrix((np.ones(len(row), np.int64), (row, column)), (len(row), len(known)))
    table.data[:] = 1  # several voxels of an instance may come to one place
    shared = (table.T @ table).tocoo()
    counts = np.asarray(table.sum(0))[0]
    enough = np.maximum(MIN_MET, MIN_SHARE * np.maximum(counts[shared.row], counts[shared.col]))
    joined = (shared.row < shared.col) & (shared.data > enough)
    return zip(known[shared.row[joined]].tolist(), known[shared.col[joined]].tolist(), strict=True)
