"""A voxel hash of points: which of them may lie within one cell's edge of a place, however many there are in all."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

_NEIGHBORS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int64)  # a cell and the 26 around it
_BITS = 21  # per axis: at 0.3 m the codes repeat after 600 km, and distances are measured anyway
_NONE = -1


class NeighborHash:
    """Slots (whole numbers from 0) by the cell that their positions lie in; cells of `edge` metres.

    Chained buckets in three arrays (the bucket's first slot, the next slot of its chain, the slot's code), so that all
    places of a frame are looked up together: a Python dict waits for memory at every single cell of a large map.
    """

    def __init__(self, edge: float) -> None:
        self.edge = edge
        self._first = np.full(1024, _NONE, dtype=np.int64)
        self._next = np.full(0, _NONE, dtype=np.int64)
        self._codes = np.zeros(0, dtype=np.int64)

    def cells(self, positions: NDArray) -> NDArray:
        """Cells (n, 3) int64 of positions (n, 3)."""
        return np.floor(positions.astype(np.float64) / self.edge).astype(np.int64)

    def codes(self, positions: NDArray) -> NDArray:
        """One number per position's cell (n,) int64."""
        return _pack(self.cells(positions))

    def reserve(self, slots: int) -> None:
        """Make space for slots below `slots`; the new ones are not in the hash yet."""
        more = slots - len(self._next)
        self._next = np.concatenate((self._next, np.full(more, _NONE, dtype=np.int64)))
        self._codes = np.concatenate((self._codes, np.zeros(more, dtype=np.int64)))
        if slots > len(self._first):
            _, held = self._chains(np.arange(len(self._first)))
            self._first = np.full(1 << (2 * slots - 1).bit_length(), _NONE, dtype=np.int64)
            self.insert(held, self._codes[held])

    def insert(self, slots: NDArray, codes: NDArray) -> None:
        """Put distinct slots that are not in the hash at the heads of their buckets' chains."""
        self._codes[slots] = codes
        buckets = self._buckets(codes)
        order = np.argsort(buckets, kind="stable")
        slots, buckets = slots[order], buckets[order]
        last = np.append(buckets[1:] != buckets[:-1], True)[: len(slots)]
        self._next[slots] = np.where(last, self._first[buckets], np.append(slots[1:], _NONE)[: len(slots)])
        head = np.append(True, last[:-1])[: len(slots)]
        self._first[buckets[head]] = slots[head]

    def remove(self, slots: NDArray) -> None:
        """Take out slots that are in the hash: their buckets' chains are made anew without them."""
        buckets = np.unique(self._buckets(self._codes[slots]))
        _, held = self._chains(buckets)
        self._first[buckets] = _NONE
        stay = np.setdiff1d(held, slots)
        self.insert(stay, self._codes[stay])

    def candidates(self, positions: NDArray) -> tuple[NDArray, NDArray]:
        """Pairs row (p,), slot (p,) int64: every slot in the 27 cells around each of positions (n, 3), rows in order."""
        cells, cell_of = np.unique(self.cells(positions), axis=0, return_inverse=True)
        codes = _pack(cells[:, None] + _NEIGHBORS).ravel()
        place, slots = self._chains(self._buckets(codes))
        same = self._codes[slots] == codes[place]
        cell, slots = place[same] // len(_NEIGHBORS), slots[same]
        slots = slots[np.argsort(cell, kind="stable")]
        counts = np.bincount(cell, minlength=len(cells))
        rows, places = spread(np.cumsum(counts) - counts, counts, cell_of.reshape(-1))
        return rows, slots[places]

    def _buckets(self, codes: NDArray) -> NDArray:
        """Fibonacci hashing: the product's upper bits, as many as number the buckets."""
        mixed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(65 - len(self._first).bit_length())).astype(np.int64)

    def _chains(self, buckets: NDArray) -> tuple[NDArray, NDArray]:
        """Pairs place (p,), slot (p,): every slot in the chain of each of buckets (n,), one link per turn."""
        slots = self._first[buckets]
        place = np.flatnonzero(slots != _NONE)
        places, found = [place], [slots[place]]
        while len(places[-1]):
            slots = self._next[found[-1]]
            more = slots != _NONE
            places.append(places[-1][more])
            found.append(slots[more])
        return np.concatenate(places), np.concatenate(found)


def spread(starts: NDArray, counts: NDArray, groups: NDArray) -> tuple[NDArray, NDArray]:
    """For every row of `groups` (n,) the places starts[g] .. starts[g] + counts[g] - 1: row (p,) and place (p,)."""
    sizes = counts[groups]
    rows = np.repeat(np.arange(len(groups)), sizes)
    return rows, np.arange(len(rows)) + np.repeat(starts[groups] - (np.cumsum(sizes) - sizes), sizes)


def _pack(cells: NDArray) -> NDArray:
    wrapped = cells & ((1 << _BITS) - 1)
    return (wrapped[..., 0] << (2 * _BITS)) | (wrapped[..., 1] << _BITS) | wrapped[..., 2]
