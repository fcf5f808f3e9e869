"""What is shown of the labelled map: its points, and where each id lies. Worked out anew only where the map changed."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.fusion.lifting import percentile_boxes
from moonseg3r_core.fusion.voxel_map import VoxelMap
from moonseg3r_core.ops.voxels import grow_rows


class Shown:
    """As of the last `refresh`: points (N, 3) float32, colors (N, 3) uint8, labels (N,) int32 and confidence (N,) float32
    of the map's voxels, which snapshots hold, so they are replaced and never written to; and by id of the points that
    carry it counts (I,), centroids (I, 3) and boxes (I, 2, 3).
    """

    def __init__(self, map: VoxelMap) -> None:
        self._map = map
        none = torch.zeros(0, dtype=torch.int64, device=map.votes.device)
        (self.points, self.colors), (self.labels, self.confidence) = map.points(none), map.labels(none)
        self.counts, self.centroids, self.boxes = none, self.points, self.points.view(0, 2, 3)

    def refresh(self, next_id: int) -> None:
        """Catch up with the map, whose labels are all below `next_id`."""
        rows = self._map.votes.take_changed()
        left = self.labels[rows[rows < len(self.labels)]]
        (points, colors), (labels, confidence) = self._map.points(rows), self._map.labels(rows)
        self.points, self.colors = self._with(self.points, rows, points), self._with(self.colors, rows, colors)
        self.labels, self.confidence = (
            self._with(self.labels, rows, labels),
            self._with(self.confidence, rows, confidence),
        )
        self.counts, self.centroids, self.boxes = (
            grow_rows(t, next_id) for t in (self.counts, self.centroids, self.boxes)
        )
        self._describe(torch.cat((left, labels)).unique().long())

    def _with(self, before: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        """A copy with other values in some rows, as long as the map."""
        after = before.new_empty(len(self._map), *before.shape[1:])
        after[: len(before)] = before
        after[rows] = values
        return after

    def _describe(self, ids: Tensor) -> None:
        """Work out what is known by id for ids (n,), rising; 0 is none."""
        ids = ids[ids > 0]
        place = torch.zeros(len(self.counts), dtype=torch.int64, device=ids.device)
        place[ids] = torch.arange(1, len(ids) + 1, device=ids.device)
        places = place.index_select(0, self.labels)
        members = torch.nonzero(places)[:, 0]
        points, places = self.points[members], places[members]
        counts = torch.bincount(places, minlength=len(ids) + 1)[1:]
        sums = torch.zeros(len(ids) + 1, 3, device=ids.device).index_add(0, places, points)[1:]
        self.counts[ids], self.centroids[ids] = counts, sums / counts[:, None]
        self.boxes[ids] = percentile_boxes(points, places, len(ids))
