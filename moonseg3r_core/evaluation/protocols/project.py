"""Protocol `project` (the paper's): transfer predicted id maps onto the ground-truth cloud.

Depth and pose are the data set's, so that segmentation is scored apart from geometry.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import invert

Array = np.ndarray | Tensor

_MAX_PENDING = 8_000_000  # votes; more are summed up


class ProjectProtocol:
    """Votes of id maps for ground-truth points (N, 3), metres.

    A point takes the id of its nearest pixel where the depth there differs from the point's by at most `tolerance`
    metres.
    """

    def __init__(self, points: Array, tolerance: float) -> None:
        self._points = np.ascontiguousarray(np.asarray(points, dtype=np.float32).T)
        self._tolerance = tolerance
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._votes = _Votes.empty()
        self.frames = 0

    def add(self, ids: Array, depth: Array, intrinsics: Array, world_from_camera: Array) -> None:
        """Count the votes of one frame.

        ids (H, W) int, 0 = no vote; depth (H, W) metres, 0 = none; intrinsics (3, 3) of that size; world_from_camera
        (4, 4). Raises ValueError where the sizes of ids and depth differ.
        """
        ids, depth = np.asarray(ids), np.asarray(depth)
        if ids.ndim != 2 or ids.shape != depth.shape:
            raise ValueError(f"ids and depth must be of one size (H, W), got {ids.shape} and {depth.shape}.")
        seen, v, u = self.find_visible(depth, intrinsics, world_from_camera)
        votes = ids[v, u].astype(np.int64)
        self._pending.append((seen[votes > 0], votes[votes > 0]))
        self.frames += 1
        if sum(len(points) for points, _ in self._pending) > _MAX_PENDING:
            self._compact()

    def find_visible(
        self, depth: np.ndarray, intrinsics: Array, world_from_camera: Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the visible points of a frame and their pixels: three arrays (n,) of rows, v and u."""
        camera_from_world = invert(torch.as_tensor(np.asarray(world_from_camera), dtype=torch.float64)).float().numpy()
        k = np.asarray(intrinsics, dtype=np.float32)
        x, y, z = camera_from_world[:3, :3] @ self._points + camera_from_world[:3, 3:]
        in_front = np.flatnonzero(z > 1e-3)
        z = z[in_front]
        u = np.rint(k[0, 0] * x[in_front] / z + k[0, 2])
        v = np.rint(k[1, 1] * y[in_front] / z + k[1, 2])
        inside = np.flatnonzero((u >= 0) & (u < depth.shape[1]) & (v >= 0) & (v < depth.shape[0]))
        u, v, z = u[inside].astype(np.int64), v[inside].astype(np.int64), z[inside]
        measured = depth[v, u]
        seen = (measured > 0) & (np.abs(z - measured) <= self._tolerance)
        return in_front[inside[seen]], v[seen], u[seen]

    def compute_labels(self) -> np.ndarray:
        """Return each point's id of most votes, ties to the newest, 0 = none; (N,) int32."""
        self._compact()
        return self._votes.find_winners(self._points.shape[1])

    def _compact(self) -> None:
        first, parts = self.frames - len(self._pending), [self._votes]
        for frame, (points, ids) in enumerate(self._pending, start=first):
            parts.append(_Votes(points << 32 | ids, np.ones_like(ids), np.full_like(ids, frame)))
        self._votes, self._pending = _Votes.sum(parts), []


class _Votes:
    """Distinct (point, id) pairs with their counts and last frames; all (n,) int64."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, last: np.ndarray) -> None:
        self.keys, self.counts, self.last = keys, counts, last

    @classmethod
    def empty(cls) -> _Votes:
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(3)))

    @classmethod
    def sum(cls, parts: list[_Votes]) -> _Votes:
        """Sum up parts, the newest last."""
        keys = np.concatenate([part.keys for part in parts])
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        if not len(starts):
            return cls.empty()
        counts = np.concatenate([part.counts for part in parts])[order]
        last = np.concatenate([part.last for part in parts])[order]
        return cls(keys[order][starts], np.add.reduceat(counts, starts), np.maximum.reduceat(last, starts))

    def find_winners(self, points: int) -> np.ndarray:
        """Return each point's id of most votes, then of the newest frame; (points,) int32."""
        labels = np.zeros(points, dtype=np.int32)
        order = np.lexsort((self.last, self.counts))  # the last write wins
        labels[self.keys[order] >> 32] = self.keys[order] & 0xFFFFFFFF
        return labels
