"""The instance store: the objects, the labelled map they live in, and which of them turned out to be one."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.fusion.instances import Instances, PairwiseMean, RunningMean
from moonseg3r_core.fusion.lifting import PointBoxes, to_grid
from moonseg3r_core.fusion.overlap import Overlap, count_overlap
from moonseg3r_core.fusion.votes import VoteGrid
from moonseg3r_core.fusion.voxel_map import VoxelMap
from moonseg3r_core.types import Assignment, Frame, Geometry, Instance, InstanceMap, Queries


class Consensus(Protocol):
    """Which instances are one after all: {old id: id it goes by}."""

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]: ...

    def reset(self) -> None: ...


class InstanceStore:
    """All that fusion remembers.

    A frame enters with at most `samples` pixels: the map, for people and robots, at `voxel` metres, and votes at
    `overlap_voxel`, coarse enough that the next view of a surface meets the same voxels.
    """

    def __init__(
        self,
        average: RunningMean | PairwiseMean,
        consensus: Consensus,
        voxel: float = 0.02,
        overlap_voxel: float = 0.05,
        samples: int = 76800,
        device: torch.device | str = "cpu",
    ) -> None:
        self.average, self.consensus, self.samples = average, consensus, samples
        self.voxel, self.overlap_voxel, self.device = voxel, overlap_voxel, torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forget everything; ids start from 1 again."""
        self.map = VoxelMap(self.voxel, self.device)
        self.votes = VoteGrid(self.overlap_voxel, self.device)
        self.instances = Instances.empty(self.device)
        self.final_ids: dict[int, int] = {}
        self.consensus.reset()

    def overlap(self, queries: Queries, geometry: Geometry) -> Overlap:
        """How the frame's masks lie on the map as it was before this frame."""
        points, labels = self._sampled(geometry, geometry.points, queries.labels.long())
        ids = self.votes.ids_at(points)
        rows = torch.where(ids > 0, self.instances.rows(ids) + 1, 0)
        return count_overlap(rows, labels, len(self.instances), len(queries))

    def update(
        self, frame: Frame, geometry: Geometry, queries: Queries, assignment: Assignment, overlap: Overlap
    ) -> Tensor:
        """Take a frame in: average into the matched, append the new, vote in the map, join what is one.

        Returns the instance id of each pixel, (H, W) int64 on the geometry's grid, 0 = none.
        """
        joins = self.consensus(self.instances, overlap)
        pixels = torch.cat((assignment.instance_ids.new_zeros(1), assignment.instance_ids))[queries.labels.long()]
        points, colors, ids = self._sampled(geometry, geometry.points, to_grid(frame.image, geometry), pixels)
        self.map.observe(points, colors, ids)
        self.votes.observe(points, ids)
        self.instances = self.instances.updated(queries, assignment, frame.index, self.average).joined(joins)
        for old, new in joins.items():
            self.map.votes.rename(old, new)
            self.votes.rename(old, new)
            self.final_ids = {o: new if n == old else n for o, n in self.final_ids.items()} | {old: new}
        return self._final()[pixels]

    def snapshot(self) -> InstanceMap:
        """The labelled map and every instance, those seen once included, on the CPU."""
        points, colors = self.map.points()
        labels, confidence = self.map.labels()
        return InstanceMap(points.cpu(), colors.cpu(), labels.cpu(), confidence.cpu(), self._describe(points, labels))

    def _describe(self, points: Tensor, labels: Tensor) -> tuple[Instance, ...]:
        """Each instance in plain numbers; one that was outvoted everywhere keeps the box of its own observations."""
        k = self.instances
        held = labels > 0
        points, rows = points[held], k.rows(labels[held].long())
        count = torch.bincount(rows, minlength=len(k))
        some = (count > 0)[:, None]
        mean = torch.zeros(len(k), 3, device=points.device).index_add(0, rows, points) / count.clamp(min=1)[:, None]
        own = PointBoxes()(points[None], rows[None].int() + 1, len(k))
        box = torch.where(some[:, None], own, k.boxes).cpu().tolist()
        middle = torch.where(some, mean, k.boxes.mean(1)).cpu().tolist()
        history = zip(
            k.ids.tolist(), count.tolist(), middle, box, k.scores.tolist(),
            k.first_frame.tolist(), k.last_frame.tolist(), k.observations.tolist(), strict=True,
        )  # fmt: skip
        return tuple(
            Instance(i, n, tuple(c), tuple(b[0]), tuple(b[1]), s, first, last, int(seen))
            for i, n, c, b, s, first, last, seen in history
        )

    def _final(self) -> Tensor:
        """The id that each id goes by, (next id,) int64."""
        final = torch.arange(self.instances.next_id, device=self.device)
        if self.final_ids:
            final[list(self.final_ids)] = torch.tensor(list(self.final_ids.values()), device=self.device)
        return final

    def _sampled(self, geometry: Geometry, *images: Tensor) -> tuple[Tensor, ...]:
        """The pixels of images (H, W, ...) that have a point, at a step that gives at most `samples` of them."""
        step = max(1, math.ceil(math.sqrt(geometry.grid.height * geometry.grid.width / self.samples)))
        valid = geometry.valid[::step, ::step]
        return tuple(image[::step, ::step][valid] for image in images)
