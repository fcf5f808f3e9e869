"""The query index map (paper eq 8; supplement "Map Update"): spatial keys, each with the indices of its queries.

It is sparse and on the CPU on any device of the frames. A key has its own short list of queries, and a spatial hash finds
keys, so an update costs O(new keys), not O(stored keys).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.memory.neighbor_hash import NeighborHash, expand_ranges
from moonseg3r_core.ops.anchors import find_moved, move_points, read_anchors
from moonseg3r_core.runtime.state import read_tensor, require
from moonseg3r_core.types import Corrections


@dataclass(frozen=True)
class NewKeys:
    """Incoming keys: positions (n, 3) metres; key row (e,) and query index (e,) of every association of eq 8."""

    positions: NDArray
    rows: NDArray
    queries: NDArray


class QueryIndexMap:
    """Spatial keys and their queries; `update` is `paper` or `grid`.

    queries_per_key: the newest are kept. max_keys: the least recently seen go. 0 is no limit.
    """

    def __init__(self, merge_distance: float, update: str, queries_per_key: int, max_keys: int) -> None:
        if update not in _MERGES:
            raise ConfigError(f"memory.index.update must be one of {', '.join(_MERGES)}, got {update!r}; choose one.")
        self.merge_distance = merge_distance
        self.queries_per_key = queries_per_key
        self.max_keys = max_keys
        self._merge_new = _MERGES[update]
        self.reset()

    def reset(self) -> None:
        """Forget all keys."""
        self._hash = NeighborHash(self.merge_distance)
        self._positions = np.full((0, 3), np.nan, dtype=np.float32)
        self._seen = np.zeros(0, dtype=np.int64)  # number of the last update that saw the key; -1: the slot is free
        self._anchors = np.zeros(0, dtype=np.int64)
        self._queries: list[array[int]] = []
        self._free: list[int] = []
        self._updates = 0

    def __len__(self) -> int:
        return len(self._queries) - len(self._free)

    @property
    def positions(self) -> Tensor:
        """Return world positions (slots, 3) float32 of the keys by slot; NaN where a slot is free."""
        return torch.from_numpy(self._positions[: len(self._queries)])

    def get_queries(self, slots: Tensor, oldest: int = 0) -> tuple[Tensor, Tensor]:
        """Return the queries of keys: slots[v] has members[offsets[v]:offsets[v + 1]], none below `oldest`."""
        lists = [self._queries[slot] for slot in slots.tolist()]
        members = (
            torch.frombuffer(bytearray(b"".join(lists)), dtype=torch.int64) if any(lists) else torch.zeros(0).long()
        )
        key = torch.repeat_interleave(torch.tensor([len(each) for each in lists], dtype=torch.int64))
        kept = members >= oldest
        counts = torch.bincount(key[kept], minlength=len(lists))
        return torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0))), members[kept]

    def correct(self, corrections: Corrections) -> None:
        """Place anew the keys that hang on key views that moved. Keys that come near each other are one after an update."""
        rows, moves = find_moved(torch.from_numpy(self._anchors[: len(self._queries)]), corrections)
        slots = rows.numpy()
        positions = move_points(torch.from_numpy(self._positions[slots]), moves).numpy()
        self._place(slots, positions)

    def update(self, positions: NDArray, queries: NDArray, oldest: int = 0, anchor: int = 0) -> None:
        """Add new keys (n, 3) metres with the query index (n,) of each, -1 for none; none below `oldest` is kept.

        An existing key within `merge_distance` of new ones moves to their centroid and takes the union of their
        queries; new keys near none are appended. Keys that move to the very same place become one: they would share all
        later updates, and the rasteriser would draw one and hide the queries of the others. All of them hang on `anchor` then.
        """
        rows = np.flatnonzero(queries >= oldest)
        new = self._merge_new(NewKeys(positions, rows, queries[rows]), self.merge_distance)
        row, slot = self._find_near(new.positions)
        unmatched = np.setdiff1d(np.arange(len(new.positions)), row)
        slot = self._move(slot, new.positions[row])
        appended = self._append(new.positions[unmatched])
        row, slot = np.concatenate((row, unmatched)), np.concatenate((slot, appended))
        self._join(row, slot, new, oldest)
        self._seen[slot], self._anchors[slot] = self._updates, anchor
        self._updates += 1
        self._limit_keys()

    def _find_near(self, positions: NDArray) -> tuple[NDArray, NDArray]:
        """Find pairs (new row, existing slot) no farther apart than `merge_distance`."""
        row, slot = self._hash.find_candidates(positions)
        offset = positions[row].astype(np.float64) - self._positions[slot]
        near = np.einsum("pi,pi->p", offset, offset) <= self.merge_distance**2
        return row[near], slot[near]

    def _move(self, slots: NDArray, positions: NDArray) -> NDArray:
        """Move each slot to the centroid of its paired positions, and return the slots of the pairs after that."""
        moved, centroids = _compute_centroids(slots, positions)
        _, first, place = np.unique(centroids, axis=0, return_index=True, return_inverse=True)
        stays = moved[first][place.reshape(-1)]
        twin = stays != moved
        for slot, other in zip(stays[twin].tolist(), moved[twin].tolist(), strict=True):
            self._queries[slot] = array("q", sorted({*self._queries[slot], *self._queries[other]}))
        self._release(moved[twin])
        self._place(moved[~twin], centroids[~twin])
        return stays[np.searchsorted(moved, slots)]

    def _place(self, slots: NDArray, positions: NDArray) -> None:
        """Place distinct slots at new positions."""
        codes = self._hash.compute_codes(positions)
        left = codes != self._hash.compute_codes(self._positions[slots])
        self._hash.remove(slots[left])
        self._hash.insert(slots[left], codes[left])
        self._positions[slots] = positions

    def _append(self, positions: NDArray) -> NDArray:
        """Append keys, in free slots first, and return their slots (n,)."""
        reused = min(len(self._free), len(positions))
        slots = self._free[len(self._free) - reused :]
        del self._free[len(self._free) - reused :]
        slots += range(len(self._queries), len(self._queries) + len(positions) - reused)
        self._queries += (array("q") for _ in range(len(positions) - reused))
        self._reserve()
        filled = np.array(slots, dtype=np.int64)
        self._positions[filled] = positions
        self._hash.insert(filled, self._hash.compute_codes(positions))
        return filled

    def _join(self, rows: NDArray, slots: NDArray, new: NewKeys, oldest: int) -> None:
        """Add the queries of the new keys to their paired slots; the oldest go beyond the limit.

        New queries are newer than all stored ones, so a key's list stays sorted and without duplicates.
        """
        order = np.argsort(new.rows, kind="stable")
        counts = np.bincount(new.rows, minlength=len(new.positions))
        pair, place = expand_ranges(np.cumsum(counts) - counts, counts, rows)
        span = int(new.queries.max(initial=0)) + 1
        for code in np.unique(slots[pair] * span + new.queries[order][place]).tolist():
            self._queries[code // span].append(code % span)
        for slot in np.unique(slots).tolist():
            members = self._queries[slot]
            del members[: bisect_left(members, oldest)]
            if self.queries_per_key:
                del members[: -self.queries_per_key]

    def _limit_keys(self) -> None:
        """Forget the least recently seen of too many keys, of equals those in the lowest slots."""
        if not self.max_keys or len(self) <= self.max_keys:
            return
        surplus = len(self) - self.max_keys + self.max_keys // 20  # in batches: each looks at all keys
        used = np.flatnonzero(self._seen >= 0)
        age = self._seen[used] * len(self._seen) + used
        gone = np.sort(used[np.argpartition(age, surplus - 1)[:surplus]])
        self._release(gone)

    def _release(self, gone: NDArray) -> None:
        """Free the slots of keys."""
        self._hash.remove(gone)
        self._positions[gone], self._seen[gone], self._anchors[gone] = np.nan, -1, 0
        for slot in gone.tolist():
            self._queries[slot] = array("q")
        self._free += gone.tolist()

    def _reserve(self) -> None:
        """Reserve slots by doubling the arrays."""
        size, larger = len(self._positions), max(1024, 2 * len(self._positions), len(self._queries))
        if size >= len(self._queries):
            return
        self._positions = np.concatenate((self._positions, np.full((larger - size, 3), np.nan, dtype=np.float32)))
        self._seen = np.concatenate((self._seen, np.full(larger - size, -1, dtype=np.int64)))
        self._anchors = np.concatenate((self._anchors, np.zeros(larger - size, dtype=np.int64)))
        self._hash.reserve(larger)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the keys as plain tensors: used and free slots, positions, last updates, queries and key views."""
        used = torch.from_numpy(np.flatnonzero(self._seen >= 0))
        offsets, members = self.get_queries(used)
        return {
            "slots": used, "free": torch.tensor(self._free, dtype=torch.int64), "positions": self.positions[used],
            "seen": torch.from_numpy(self._seen)[used], "offsets": offsets, "members": members,
            "anchors": torch.from_numpy(self._anchors)[used],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore saved keys within this map's limits. Raises InputError for an incomplete state."""
        sizes: dict[str, int] = {}
        slots, free, seen = (read_tensor(state, *wanted, sizes=sizes).numpy() for wanted in _SLOTS.items())
        positions = read_tensor(state, "positions", ("n", 3), torch.float32, sizes).numpy()
        members, bounds = (
            read_tensor(state, "members", ("m",)).numpy(),
            read_tensor(state, "offsets", (len(slots) + 1,)).tolist(),
        )
        anchors = read_anchors(state, len(slots)).numpy()
        places = np.sort(np.concatenate((slots, free)))
        require(bool((np.abs(positions) <= _FAR).all()), f"positions must be within {_FAR:.0e} m")
        require(np.array_equal(places, np.arange(len(places))), "slots and free must number all from 0, none twice")
        require(
            bounds == sorted(bounds) and [bounds[0], bounds[-1]] == [0, len(members)],
            "offsets must rise to all members",
        )
        require(seen.min(initial=0) >= 0 and seen.max(initial=0) < _LATEST, f"seen must be from 0 to {_LATEST - 1}")
        self.reset()
        self._free, self._queries = free.tolist(), [array("q") for _ in range(len(slots) + len(free))]
        self._reserve()
        self._positions[slots], self._seen[slots], self._anchors[slots] = positions, seen, anchors
        self._hash.insert(slots, self._hash.compute_codes(positions))
        for slot, begin, end in zip(slots.tolist(), bounds, bounds[1:], strict=False):
            self._queries[slot].frombytes(members[begin:end][-self.queries_per_key :].tobytes())
        self._updates = int(seen.max(initial=-1)) + 1
        self._limit_keys()


def _compute_centroids(groups: NDArray, positions: NDArray) -> tuple[NDArray, NDArray]:
    """Compute the distinct groups (g,) and the mean position (g, 3) float32 of each."""
    distinct, place = np.unique(groups, return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    sums = [np.bincount(place, weights=axis, minlength=len(distinct)) for axis in positions.T]
    return distinct, (np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _keep_new(new: NewKeys, _: float) -> NewKeys:
    """`paper`: keep new keys as they are."""
    return new


def _merge_per_cell(new: NewKeys, merge_distance: float) -> NewKeys:
    """`grid`: merge the new keys in one cell of the hash to one key, at their centroid, with the queries of all."""
    _, cell_of = np.unique(NeighborHash(merge_distance).compute_codes(new.positions), return_inverse=True)
    _, centroids = _compute_centroids(cell_of, new.positions)
    edges = np.unique(np.stack((cell_of[new.rows], new.queries), axis=1), axis=0)
    return NewKeys(centroids, edges[:, 0], edges[:, 1])


_FAR = 1e9  # metres; no key lies as far
_LATEST = 1 << 31  # of the updates
_SLOTS = {"slots": ("n",), "free": ("f",), "seen": ("n",)}
_MERGES: dict[str, Callable[[NewKeys, float], NewKeys]] = {"paper": _keep_new, "grid": _merge_per_cell}
