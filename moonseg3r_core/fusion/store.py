"""The instance store: instances, the labelled map, and joins of instances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.fusion.consensus import NoConsensus, ViewConsensus, add_join
from moonseg3r_core.fusion.instances import Instances, PairwiseMean, RunningMean
from moonseg3r_core.fusion.map_cache import MapCache
from moonseg3r_core.fusion.overlap import Overlap, count_overlap
from moonseg3r_core.fusion.overlap_votes import OverlapVotes
from moonseg3r_core.fusion.tables import describe_instances, get_descriptors, pack_tables, unpack_tables
from moonseg3r_core.fusion.voxel_map import VoxelMap
from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.runtime.state import (
    State,
    are_within,
    error_prefix,
    load_parts,
    prefix_states,
    read_tensor,
    require,
    sub_state,
)
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import Assignment, Corrections, Frame, Geometry, Instance, InstanceMap, MapView, Queries

RETIRE_EVERY = 100  # frames


def build_store(
    average: str,
    overlap_voxel: float,
    consensus: str,
    consensus_cover: float,
    consensus_views: int,
    consensus_rate: float,
    voxel: float,
    samples: int,
    device: torch.device,
) -> InstanceStore:
    """Build an empty instance store with its map."""
    views = ViewConsensus(consensus_cover, consensus_views, consensus_rate)
    return InstanceStore(
        RunningMean() if average == "running" else PairwiseMean(),
        views if consensus == "views" else NoConsensus(),
        voxel,
        overlap_voxel,
        samples,
        device,
    )


class Consensus(Stateful, Protocol):
    """Decides which instances are one: {old id: new id}. `rename` tells it of joins that others found."""

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]: ...

    def rename(self, joins: Mapping[int, int]) -> None: ...

    def reset(self) -> None: ...


class InstanceStore:
    """The state of fusion: instances, map and votes.

    At most `samples` pixels of a frame are added. The map has voxels of `voxel` metres. The votes for overlap have voxels
    of `overlap_voxel`, coarse enough that the next view of a surface meets the same ones.
    """

    def __init__(
        self,
        average: RunningMean | PairwiseMean,
        consensus: Consensus,
        voxel: float,
        overlap_voxel: float,
        samples: int,
        device: torch.device | str,
    ) -> None:
        self.average, self.consensus, self.samples = average, consensus, samples
        self.voxel, self.overlap_voxel, self.device = voxel, overlap_voxel, torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forget everything; ids start from 1 again."""
        self.map = VoxelMap(self.voxel, self.device)
        self.cache = MapCache(self.map)
        self.votes = OverlapVotes(self.overlap_voxel, self.device)
        self.instances = Instances.empty(self.device)
        self.retired: list[Instance] = []
        self.final_ids: dict[int, int] = {}
        self.consensus.reset()
        self._updates = self._retired_before = 0

    def correct(self, corrections: Corrections) -> None:
        """Place anew what hangs on key views that moved, measure its instances, and join those that become one."""
        joins: dict[int, int] = {}
        for pair in self.votes.correct(corrections):
            joins = add_join(joins, *pair)
        rows = self.map.correct(corrections)
        self.instances = self.instances.join(joins)
        self.consensus.rename(joins)
        self._rename(joins)
        self.cache.refresh(self.instances.next_id)
        ids = self.cache.labels[rows].unique().long()
        ids = ids[ids > 0]
        boxes = self.instances.boxes.index_copy(0, self.instances.find_rows(ids), self.cache.boxes[ids])
        self.instances = replace(self.instances, boxes=boxes)

    def look_up(self, geometry: Geometry) -> MapView:
        """Look up the ids that the map has where a frame's pixels lie."""
        step = self._choose_step(geometry)
        valid, points = (image[::step, ::step] for image in (geometry.valid, geometry.points))
        ids = torch.zeros(valid.shape, dtype=torch.int64, device=valid.device)
        ids[valid] = self.votes.find_ids(points[valid])
        return MapView(ids, step)

    def measure_overlap(self, queries: Queries, geometry: Geometry, view: MapView) -> Overlap:
        """Measure the overlap of the frame's masks with what the map had in view before this frame."""
        (labels,) = self._sample(geometry, queries.labels)
        ids = view.ids[geometry.valid[:: view.step, :: view.step]]
        rows = torch.where(ids > 0, self.instances.find_rows(ids) + 1, 0)
        return count_overlap(rows, labels, len(self.instances), len(queries))

    def update(
        self, frame: Frame, geometry: Geometry, queries: Queries, assignment: Assignment, overlap: Overlap
    ) -> Assignment:
        """Update by a frame: average into matched instances, append new ones, vote in the map, join instances.

        Returns the assignment with the ids after joins.
        """
        updated = self.instances.update(queries, assignment, frame.index, self.average)
        joins = self.consensus(self.instances, overlap)
        self.instances = updated.join(joins)
        ids = assignment.ids_of(queries.labels)
        points, colors, ids = self._sample(geometry, geometry.points, resample_to_grid(frame.image, geometry), ids)
        self.map.observe(points, colors, ids, geometry.anchor)
        self.votes.observe(points, ids, geometry.anchor)
        self._rename(joins)
        self._updates += 1
        if self._updates % RETIRE_EVERY == 0:
            self._retire(frame.index)
        return replace(assignment, instance_ids=self._resolve_ids()[assignment.instance_ids])

    def _rename(self, joins: Mapping[int, int]) -> None:
        """Give the votes of joins {old id: new id} to the new ids."""
        for old, new in joins.items():
            self.map.votes.rename(old, new)
            self.votes.rename(old, new)
            self.final_ids = {o: new if n == old else n for o, n in self.final_ids.items()} | {old: new}

    def extend(self, frame: Frame, geometry: Geometry) -> Tensor:
        """Add a frame without masks to the map, without votes. Returns the ids (H, W) int64 that the map had there."""
        ids = torch.zeros(geometry.valid.shape, dtype=torch.int64, device=geometry.device)
        ids[geometry.valid] = self.votes.find_ids(geometry.points[geometry.valid])
        points, colors = self._sample(geometry, geometry.points, resample_to_grid(frame.image, geometry))
        self.map.extend(points, colors, geometry.anchor)
        return ids

    def _retire(self, frame: int) -> None:
        """Retire spurious instances from matching: they win no voxel and were not seen since the last call.

        Their ids stay in the files and are not reused; without this, every spurious mask would be matched for ever.
        """
        winners = torch.cat([grid.find_winners(slice(len(grid)))[0].unique() for grid in (self.map.votes, self.votes)])
        spurious = ~torch.isin(self.instances.ids, winners) & (self.instances.last_frame < self._retired_before)
        self.retired += describe_instances(self.instances.select(spurious))
        for grid in (self.map.votes, self.votes):
            grid.remove_votes(self.instances.ids[spurious])
        self.instances = self.instances.select(~spurious)
        self._retired_before = frame

    def snapshot(self) -> InstanceMap:
        """Return the labelled map and every instance, those seen once included, on the CPU."""
        cache, ids = self.cache, self.instances.ids
        cache.refresh(self.instances.next_id)
        plain = describe_instances(self.instances, cache.counts[ids], cache.centroids[ids], cache.boxes[ids])
        points, colors, labels, confidence = (
            values.cpu() for values in (cache.points, cache.colors, cache.labels, cache.confidence)
        )
        return InstanceMap(points, colors, labels, confidence, (*plain, *self.retired), get_descriptors(self.instances))

    def state_dict(self) -> dict[str, Tensor]:
        """Return map, votes, instances, retired instances, joins and evidence for joins."""
        counters = {"updates": self._updates, "retired_before": self._retired_before}
        joins = torch.tensor(list(self.final_ids.items()), dtype=torch.int64).view(-1, 2)
        parts = {name: getattr(self, name).state_dict() for name in ("map", "votes", "instances", "consensus")}
        return {
            **prefix_states(**parts, retired=pack_tables(self.retired)),
            "final_ids": joins,
            **{name: torch.tensor(count) for name, count in counters.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Restore a saved store. Raises InputError for an incomplete one."""
        load_parts(state, map=self.map, votes=self.votes, consensus=self.consensus)
        self.cache = MapCache(self.map)
        with error_prefix("instances"):
            self.instances = Instances.from_state(sub_state(state, "instances"), self.device)
        with error_prefix("retired"):
            self.retired = unpack_tables(sub_state(state, "retired"))
        joins, ids = read_tensor(state, "final_ids", ("joins", 2)), self.instances.ids
        require(are_within(joins, 1, self.instances.next_id), "final_ids must be ids below instances.next_id")
        require(self.votes.has_only(ids) and self.map.votes.has_only(ids), "votes must be for ids of instances")
        self.final_ids = dict(joins.tolist())
        self._updates, self._retired_before = (
            int(read_tensor(state, name, ())) for name in ("updates", "retired_before")
        )

    def _resolve_ids(self) -> Tensor:
        """Resolve joins: the id (next id,) int64 that each id has now."""
        final = torch.arange(self.instances.next_id, device=self.device)
        if self.final_ids:
            final[list(self.final_ids)] = torch.tensor(list(self.final_ids.values()), device=self.device)
        return final

    def _sample(self, geometry: Geometry, *images: Tensor) -> tuple[Tensor, ...]:
        """Sample at most `samples` pixels with a point from images (H, W, ...), on a regular grid."""
        step = self._choose_step(geometry)
        valid = torch.nonzero(geometry.valid[::step, ::step].flatten())[:, 0]
        return tuple(image[::step, ::step].flatten(0, 1).index_select(0, valid) for image in images)

    def _choose_step(self, geometry: Geometry) -> int:
        """Choose which pixels are sampled: every how many along rows and columns."""
        return max(1, math.ceil(math.sqrt(geometry.grid.height * geometry.grid.width / self.samples)))
