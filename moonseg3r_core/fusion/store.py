"""The instance store: the objects, the labelled map they live in, and which of them turned out to be one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.fusion.consensus import NoConsensus, ViewConsensus
from moonseg3r_core.fusion.instances import Instances, PairwiseMean, RunningMean
from moonseg3r_core.fusion.overlap import Overlap, count_overlap
from moonseg3r_core.fusion.plain import descriptors, from_tables, in_plain_numbers, to_tables
from moonseg3r_core.fusion.shown import Shown
from moonseg3r_core.fusion.votes import VoteGrid
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
from moonseg3r_core.types import Assignment, Frame, Geometry, Instance, InstanceMap, Queries

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
        self.shown = Shown(self.map)
        self.votes = VoteGrid(self.overlap_voxel, self.device)
        self.instances = Instances.empty(self.device)
        self.retired: list[Instance] = []
        self.final_ids: dict[int, int] = {}
        self.consensus.reset()
        self._updates = self._retired_before = 0

    def overlap(self, queries: Queries, geometry: Geometry) -> Overlap:
        """How the frame's masks lie on the map as it was before this frame."""
        points, labels = self._sampled(geometry, geometry.points, queries.labels)
        ids = self.votes.ids_at(points)
        rows = torch.where(ids > 0, self.instances.rows(ids) + 1, 0)
        return count_overlap(rows, labels, len(self.instances), len(queries))

    def update(
        self, frame: Frame, geometry: Geometry, queries: Queries, assignment: Assignment, overlap: Overlap
    ) -> Assignment:
        """Take a frame in: average into the matched, append the new, vote in the map, join what is one.

        Returns the assignment by the ids that the instances go by now.
        """
        updated = self.instances.updated(queries, assignment, frame.index, self.average)
        joins = self.consensus(self.instances, overlap)
        self.instances = updated.joined(joins)
        ids = assignment.ids_of(queries.labels)
        points, colors, ids = self._sampled(geometry, geometry.points, resample_to_grid(frame.image, geometry), ids)
        self.map.observe(points, colors, ids)
        self.votes.observe(points, ids)
        for old, new in joins.items():
            self.map.votes.rename(old, new)
            self.votes.rename(old, new)
            self.final_ids = {o: new if n == old else n for o, n in self.final_ids.items()} | {old: new}
        self._updates += 1
        if self._updates % RETIRE_EVERY == 0:
            self._retire(frame.index)
        return replace(assignment, instance_ids=self._final()[assignment.instance_ids])

    def extend(self, frame: Frame, geometry: Geometry) -> Tensor:
        """Take in a frame without masks: its points enter the map, and nothing is voted. The ids (H, W) int64 that the
        map had there.
        """
        ids = torch.zeros(geometry.valid.shape, dtype=torch.int64, device=geometry.device)
        ids[geometry.valid] = self.votes.ids_at(geometry.points[geometry.valid])
        self.map.extend(*self._sampled(geometry, geometry.points, resample_to_grid(frame.image, geometry)))
        return ids

    def _retire(self, frame: int) -> None:
        """Take instances out of matching that lead no voxel and were not seen since the last time: masks that erred.

        Their ids stay in the files and are never given again; without this, every error ever made would be matched.
        """
        leading = torch.cat([grid.leaders(slice(len(grid)))[0].unique() for grid in (self.map.votes, self.votes)])
        ghosts = ~torch.isin(self.instances.ids, leading) & (self.instances.last_frame < self._retired_before)
        self.retired += in_plain_numbers(self.instances.kept(ghosts))
        for grid in (self.map.votes, self.votes):
            grid.strike(self.instances.ids[ghosts])
        self.instances = self.instances.kept(~ghosts)
        self._retired_before = frame

    def snapshot(self) -> InstanceMap:
        """The labelled map and every instance, those seen once included, on the CPU."""
        shown, ids = self.shown, self.instances.ids
        shown.refresh(self.instances.next_id)
        plain = in_plain_numbers(self.instances, shown.counts[ids], shown.centroids[ids], shown.boxes[ids])
        points, colors, labels, confidence = (
            values.cpu() for values in (shown.points, shown.colors, shown.labels, shown.confidence)
        )
        return InstanceMap(points, colors, labels, confidence, (*plain, *self.retired), descriptors(self.instances))

    def state_dict(self) -> dict[str, Tensor]:
        """All that fusion remembers: the map, the votes, the instances, those retired, joins and evidence for joins."""
        counters = {"updates": self._updates, "retired_before": self._retired_before}
        joins = torch.tensor(list(self.final_ids.items()), dtype=torch.int64).view(-1, 2)
        parts = {name: getattr(self, name).state_dict() for name in ("map", "votes", "instances", "consensus")}
        return {
            **prefix_states(**parts, retired=to_tables(self.retired)),
            "final_ids": joins,
            **{name: torch.tensor(count) for name, count in counters.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` gave."""
        load_parts(state, map=self.map, votes=self.votes, consensus=self.consensus)
        self.shown = Shown(self.map)
        with error_prefix("instances"):
            self.instances = Instances.from_state(sub_state(state, "instances"), self.device)
        with error_prefix("retired"):
            self.retired = from_tables(sub_state(state, "retired"))
        joins, ids = read_tensor(state, "final_ids", ("joins", 2)), self.instances.ids
        require(are_within(joins, 1, self.instances.next_id), "final_ids must be ids below instances.next_id")
        require(self.votes.has_only(ids) and self.map.votes.has_only(ids), "votes must be for ids of instances")
        self.final_ids = dict(joins.tolist())
        self._updates, self._retired_before = (
            int(read_tensor(state, name, ())) for name in ("updates", "retired_before")
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
        valid = torch.nonzero(geometry.valid[::step, ::step].flatten())[:, 0]
        return tuple(image[::step, ::step].flatten(0, 1).index_select(0, valid) for image in images)
