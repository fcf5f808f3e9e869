"""A voxel hash of points: which of them may lie within one cell's edge of a place, however many there are in all."""

from __future__ import annotations

from itertools import chain, product, repeat

import numpy as np
from numpy.typing import NDArray

_NEIGHBORS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int64)  # a cell and the 26 around it
_BITS = 21  # per axis: at 0.3 m the codes repeat after 600 km, and distances are measured anyway


class VoxelHash:
    """Slots (any whole numbers) by the cell that their positions lie in; cells of `edge` metres."""

    def __init__(self, edge: float) -> None:
        self.edge = edge
        self._slots: dict[int, list[int]] = {}

    def cells(self, positions: NDArray) -> NDArray:
        """Cells (n, 3) int64 of positions (n, 3)."""
        return np.floor(positions.astype(np.float64) / self.edge).astype(np.int64)

    def codes(self, positions: NDArray) -> NDArray:
        """One number per position's cell (n,) int64."""
        return _pack(self.cells(positions))

    def insert(self, slots: NDArray, codes: NDArray) -> None:
        for slot, code in zip(slots.tolist(), codes.tolist(), strict=True):
            self._slots.setdefault(code, []).append(slot)

    def remove(self, slots: NDArray, codes: NDArray) -> None:
        """Take out slots that were inserted under these codes; empty cells go."""
        for slot, code in zip(slots.tolist(), codes.tolist(), strict=True):
            held = self._slots[code]
            held.remove(slot)
            if not held:
                del self._slots[code]

    def candidates(self, positions: NDArray) -> tuple[NDArray, NDArray]:
        """Pairs row (p,), slot (p,) int64: every slot in the 27 cells around each of positions (n, 3)."""
        cells, cell_of = np.unique(self.cells(positions), axis=0, return_inverse=True)
        codes = _pack(cells[:, None] + _NEIGHBORS).ravel().tolist()
        found = list(map(self._slots.get, codes, repeat(())))
        counts = np.fromiter(map(len, found), np.int64, len(found)).reshape(-1, len(_NEIGHBORS)).sum(1)
        slots = np.fromiter(chain.from_iterable(found), np.int64, int(counts.sum()))
        rows, places = spread(np.cumsum(counts) - counts, counts, cell_of.reshape(-1))
        return rows, slots[places]


def spread(starts: NDArray, counts: NDArray, groups: NDArray) -> tuple[NDArray, NDArray]:
    """For every row of `groups` (n,) the places starts[g] .. starts[g] + counts[g] - 1: row (p,) and place (p,)."""
    sizes = counts[groups]
    rows = np.repeat(np.arange(len(groups)), sizes)
    return rows, np.arange(len(rows)) + np.repeat(starts[groups] - (np.cumsum(sizes) - sizes), sizes)


def _pack(cells: NDArray) -> NDArray:
    wrapped = cells & ((1 << _BITS) - 1)
    return (wrapped[..., 0] << (2 * _BITS)) | (wrapped[..., 1] << _BITS) | wrapped[..., 2]
