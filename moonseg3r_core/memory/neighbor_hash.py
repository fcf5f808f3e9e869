"""A voxel hash of points that finds those within one cell's edge of a position, at a cost free of their number."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

_NEIGHBORS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int64)  # a cell and the 26 around it
_BITS = 21  # per axis: at 0.3 m the codes repeat after 600 km, and distances are measured anyway
_NONE = -1


class NeighborHash:
    """Slots (whole numbers from 0) by the cell of their positions; cells of `edge` metres.

    Buckets are chained in three arrays: the bucket's first slot, the next slot of its chain, the slot's code. All
    positions of a frame are looked up together; a Python dict would miss the cache at every cell of a large map.
    """

    def __init__(self, edge: float) -> None:
        self.edge = edge
        self._first = np.full(1024, _NONE, dtype=np.int64)
        self._next = np.full(0, _NONE, dtype=np.int64)
        self._codes = np.zeros(0, dtype=np.int64)

    def compute_cells(self, positions: NDArray) -> NDArray:
        """Compute the cells (n, 3) int64 of positions (n, 3)."""
        return np.floor(positions.astype(np.float64) / self.edge).astype(np.int64)

    def compute_codes(self, positions: NDArray) -> NDArray:
        """Compute one number (n,) int64 for the cell of each position (n, 3)."""
        return _pack(self.compute_cells(positions))

    def reserve(self, slots: int) -> None:
        """Make space for slots below `slots`; the new ones are not in the hash yet."""
        more = slots - len(self._next)
        self._next = np.concatenate((self._next, np.full(more, _NONE, dtype=np.int64)))
        self._codes = np.concatenate((self._codes, np.zeros(more, dtype=np.int64)))
        if slots > len(self._first):
            _, used = self._follow_chains(np.arange(len(self._first)))
            self._first = np.full(1 << (2 * slots - 1).bit_length(), _NONE, dtype=np.int64)
            self.insert(used, self._codes[used])

    def insert(self, slots: NDArray, codes: NDArray) -> None:
        """Insert distinct slots that are not in the hash at the heads of their buckets' chains."""
        self._codes[slots] = codes
        buckets = self._compute_buckets(codes)
        order = np.argsort(buckets, kind="stable")
        slots, buckets = slots[order], buckets[order]
        last = np.append(buckets[1:] != buckets[:-1], True)[: len(slots)]
        self._next[slots] = np.where(last, self._first[buckets], np.append(slots[1:], _NONE)[: len(slots)])
        head = np.append(True, last[:-1])[: len(slots)]
        self._first[buckets[head]] = slots[head]

    def remove(self, slots: NDArray) -> None:
        """Remove slots that are in the hash: their buckets' chains are rebuilt without them."""
        buckets = np.unique(self._compute_buckets(self._codes[slots]))
        _, chained = self._follow_chains(buckets)
        self._first[buckets] = _NONE
        stay = np.setdiff1d(chained, slots)
        self.insert(stay, self._codes[stay])

    def find_candidates(self, positions: NDArray) -> tuple[NDArray, NDArray]:
        """Find every slot in the 27 cells around each of positions (n, 3): pairs row (p,), slot (p,) int64, rows rising."""
        cells, cell_of = np.unique(self.compute_cells(positions), axis=0, return_inverse=True)
        codes = _pack(cells[:, None] + _NEIGHBORS).ravel()
        place, slots = self._follow_chains(self._compute_buckets(codes))
        same = self._codes[slots] == codes[place]
        cell, slots = place[same] // len(_NEIGHBORS), slots[same]
        slots = slots[np.argsort(cell, kind="stable")]
        counts = np.bincount(cell, minlength=len(cells))
        rows, places = expand_ranges(np.cumsum(counts) - counts, counts, cell_of.reshape(-1))
        return rows, slots[places]

    def _compute_buckets(self, codes: NDArray) -> NDArray:
        """Compute buckets by Fibonacci hashing: the upper bits of a product, as many as number the buckets."""
        mixed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(65 - len(self._first).bit_length())).astype(np.int64)

    def _follow_chains(self, buckets: NDArray) -> tuple[NDArray, NDArray]:
        """Follow the chain of each of buckets (n,), one link per turn: pairs place (p,), slot (p,)."""
        slots = self._first[buckets]
        place = np.flatnonzero(slots != _NONE)
        places, found = [place], [slots[place]]
        while len(places[-1]):
            slots = self._next[found[-1]]
            more = slots != _NONE
            places.append(places[-1][more])
            found.append(slots[more])
        return np.concatenate(places), np.concatenate(found)


def expand_ranges(starts: NDArray, counts: NDArray, groups: NDArray) -> tuple[NDArray, NDArray]:
    """Expand every row of `groups` (n,) to the places starts[g] .. starts[g] + counts[g] - 1: row (p,), place (p,)."""
    sizes = counts[groups]
    rows = np.repeat(np.arange(len(groups)), sizes)
    return rows, np.arange(len(rows)) + np.repeat(starts[groups] - (np.cumsum(sizes) - sizes), sizes)


def _pack(cells: NDArray) -> NDArray:
    wrapped = cells & ((1 << _BITS) - 1)
    return (wrapped[..., 0] << (2 * _BITS)) | (wrapped[..., 1] << _BITS) | wrapped[..., 2]
