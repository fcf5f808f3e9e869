"""A cache of the labelled map for snapshots: its points, and the extent of each id."""

from __future__ import annotations

from itertools import repeat

import torch
from torch import Tensor

from moonseg3r_core.fusion.lifting import compute_percentile_boxes
from moonseg3r_core.fusion.voxel_map import VoxelMap
from moonseg3r_core.ops.voxels import grow_rows


class MapCache:
    """The map as of the last `refresh`, which recomputes only what changed.

    By voxel: points (N, 3) float32, colors (N, 3) uint8, labels (N,) int32, confidence (N,) float32. Snapshots hold these
    tensors, so they are replaced and never written to. By id: counts (I,), centroids (I, 3) and boxes (I, 2, 3) of its
    points.
    """

    def __init__(self, map: VoxelMap) -> None:
        self._map = map
        none = torch.zeros(0, dtype=torch.int64, device=map.votes.device)
        (self.points, self.colors), (self.labels, self.confidence) = map.get_points(none), map.get_labels(none)
        self.counts, self.centroids, self.boxes = none, self.points, self.points.view(0, 2, 3)

    def refresh(self, next_id: int) -> None:
        """Bring the cache up to date with the map, whose labels are all below `next_id`."""
        rows = self._map.votes.take_changed()
        changed = torch.cat((self.labels[rows[rows < len(self.labels)]], self.labels[len(self._map) :]))
        before = self.points, self.colors, self.labels, self.confidence
        values = (*self._map.get_points(rows), *self._map.get_labels(rows))
        self.points, self.colors, self.labels, self.confidence = map(self._replace_rows, before, repeat(rows), values)
        extents = self.counts, self.centroids, self.boxes
        self.counts, self.centroids, self.boxes = (grow_rows(extent, next_id) for extent in extents)
        self._measure(torch.cat((changed, values[2])).unique().long())

    def _replace_rows(self, before: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        """Return a copy as long as the map, with new values in some rows."""
        after = before.new_empty(len(self._map), *before.shape[1:])
        kept = min(len(before), len(after))
        after[:kept] = before[:kept]
        after[rows] = values
        return after

    def _measure(self, ids: Tensor) -> None:
        """Measure counts, centroids and boxes of ids (n,), rising; 0 is none."""
        ids = ids[ids > 0]
        place = torch.zeros(len(self.counts), dtype=torch.int64, device=ids.device)
        place[ids] = torch.arange(1, len(ids) + 1, device=ids.device)
        places = place.index_select(0, self.labels)
        members = torch.nonzero(places)[:, 0]
        points, places = self.points[members], places[members]
        counts = torch.bincount(places, minlength=len(ids) + 1)[1:]
        sums = torch.zeros(len(ids) + 1, 3, device=ids.device).index_add(0, places, points)[1:]
        self.counts[ids], self.centroids[ids] = counts, sums / counts[:, None]
        self.boxes[ids] = compute_percentile_boxes(points, places, len(ids))
