"""A hash of voxels in torch, from integer keys to rows, on CPU and CUDA; its cost does not grow with its size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.runtime.state import State, cpu_copy, read_tensor, require

_EMPTY, _REMOVED = -1, -2
_HALF = 1 << 20  # 21 bits an axis: a cube of two million voxels around the origin


def compute_voxel_keys(points: Tensor, size: float) -> Tensor:
    """Compute the int64 keys (N,) >= 0 of the voxels of edge `size` that points (N, 3) in metres lie in.

    Coordinates beyond 2^20 voxels from the origin (21 km at 2 cm) are clamped to that border.
    """
    cells = torch.floor(points.double() / size).long().clamp(-_HALF, _HALF - 1) + _HALF
    return (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]


def compute_voxel_centers(keys: Tensor, size: float) -> Tensor:
    """Compute the centres (N, 3) float32 of voxels by their keys (N,), as of `compute_voxel_keys`."""
    cells = torch.stack((keys >> 42, keys >> 21, keys), dim=1) & (2 * _HALF - 1)
    return ((cells - _HALF + 0.5).double() * size).float()


def find_first_in_voxels(points: Tensor, size: float) -> np.ndarray:
    """Find the rows, rising, of the first of points (N, 3) in each voxel of edge `size`, metres.

    The same points remain when more come. Parts that are thinned, joined and thinned again equal the whole thinned once.
    """
    return np.sort(np.unique(compute_voxel_keys(points, size).numpy(), return_index=True)[1])


class VoxelHash:
    """Keys to consecutive rows by open addressing with linear probing; rows count up from 0."""

    def __init__(self, capacity: int = 1 << 14, device: torch.device | str = "cpu") -> None:
        self._keys = torch.full((capacity,), _EMPTY, dtype=torch.int64, device=device)
        self._rows = torch.full((capacity,), _EMPTY, dtype=torch.int64, device=device)
        self._row_keys = torch.zeros(0, dtype=torch.int64, device=device)
        self._count = self._taken = 0  # rows; slots that are not empty, at most

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Tensor:
        """The key (rows,) int64 of each row."""
        return self._row_keys[: self._count]

    def find(self, keys: Tensor) -> Tensor:
        """Find the rows (N,) of int64 keys (N,), -1 where a key is unknown."""
        slots = self._compute_slots(keys)
        stored = self._keys.index_select(0, slots)
        found = torch.where(stored == keys, self._rows.index_select(0, slots), _EMPTY)
        elsewhere = (stored != keys) & (stored != _EMPTY)  # few: most are in their first slot
        pending = torch.nonzero(elsewhere)[:, 0]
        slots = slots[pending]
        while len(pending):
            slots = self._advance(slots)
            stored = self._keys[slots]
            hit = stored == keys[pending]
            found[pending[hit]] = self._rows[slots[hit]]
            on = ~hit & (stored != _EMPTY)
            pending, slots = pending[on], slots[on]
        return found

    def insert(self, keys: Tensor) -> Tensor:
        """Insert unknown keys of (N,) >= 0, in ascending order, and return the rows (N,) of all."""
        rows = self.find(keys)
        new = torch.unique(keys[rows < 0])
        if not len(new):
            return rows
        self._append(new)
        missing = rows < 0
        rows[missing] = self.find(keys[missing])
        return rows

    def remove(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Remove distinct rows (n,). The last rows take their places: returns the places (m,) and the rows (m,)."""
        left = self._count - len(rows)
        stays = torch.ones(len(rows), dtype=torch.bool, device=rows.device)  # of the last rows
        stays[rows[rows >= left] - left] = False
        places, sources = rows[rows < left], left + torch.nonzero(stays)[:, 0]
        self._keys[self._find_slots(self._row_keys[rows])] = _REMOVED
        self._rows[self._find_slots(self._row_keys[sources])] = places
        self._row_keys[places] = self._row_keys[sources]
        self._count = left
        return places, sources

    def state_dict(self) -> dict[str, Tensor]:
        """Return the keys in the order of their rows."""
        return {"keys": cpu_copy(self.keys)}

    def load_state_dict(self, state: State) -> None:
        """Restore a saved hash. Raises InputError for an incomplete state."""
        keys = read_tensor(state, "keys", ("N",), device=self._keys.device)
        require(len(keys.unique()) == len(keys) and not bool((keys < 0).any()), "keys must be >= 0, none twice")
        self._keys.fill_(_EMPTY)
        self._count = self._taken = 0
        self._append(keys)

    def _append(self, keys: Tensor) -> None:
        """Append rows of distinct, absent keys."""
        rows = torch.arange(self._count, self._count + len(keys), device=keys.device)
        self._reserve(len(keys))
        self._row_keys[rows] = keys
        self._put(keys, rows)
        self._count += len(keys)
        self._taken += len(keys)

    def _put(self, keys: Tensor, rows: Tensor) -> None:
        """Store distinct, absent keys. Each round every pending key claims its slot; those that lost go to the next."""
        slots = self._compute_slots(keys)
        while len(keys):
            free = self._keys[slots] < 0
            self._keys[slots[free]] = keys[free]
            won = free & (self._keys[slots] == keys)
            self._rows[slots[won]] = rows[won]
            keys, rows, slots = keys[~won], rows[~won], self._advance(slots[~won])

    def _reserve(self, more: int) -> None:
        """Reserve space for more rows; slots of removed keys are empty again where the table is laid out anew."""
        self._row_keys = grow_rows(self._row_keys, self._count + more)
        if 2 * (self._taken + more) <= len(self._keys):
            return
        capacity = max(len(self._keys), 1 << (4 * (self._count + more) - 1).bit_length())
        keys = self.keys
        self._keys = torch.full((capacity,), _EMPTY, dtype=torch.int64, device=keys.device)
        self._rows = torch.full_like(self._keys, _EMPTY)
        self._put(keys, torch.arange(self._count, device=keys.device))
        self._taken = self._count

    def _find_slots(self, keys: Tensor) -> Tensor:
        """Find the slots (n,) of known keys (n,)."""
        slots = self._compute_slots(keys)
        while len(pending := torch.nonzero(self._keys[slots] != keys)[:, 0]):
            slots[pending] = self._advance(slots[pending])
        return slots

    def _compute_slots(self, keys: Tensor) -> Tensor:
        mixed = keys ^ (keys >> 31)
        mixed = mixed * -7046029254386353131  # 2^64 / golden ratio, as a signed number
        return (mixed ^ (mixed >> 29)) & (len(self._keys) - 1)

    def _advance(self, slots: Tensor) -> Tensor:
        return (slots + 1) & (len(self._keys) - 1)


def grow_rows(store: Tensor, rows: int) -> Tensor:
    """Grow `store` to `rows` rows: returns itself, or a copy of at least twice the length with zeros behind."""
    if rows <= len(store):
        return store
    larger = torch.zeros((max(rows, 2 * len(store)), *store.shape[1:]), dtype=store.dtype, device=store.device)
    larger[: len(store)] = store
    return larger
