"""The hall: one frame's walk through the rooms (paper Figure 2). The only place where rooms meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.fusion.lifting import Lift
from moonseg3r_core.fusion.store import InstanceStore
from moonseg3r_core.ops.grids import to_image
from moonseg3r_core.runtime.state import State, gathered, load_parts
from moonseg3r_core.runtime.timing import Stopwatch
from moonseg3r_core.stages import Budget, FeatureModel, MaskModel, Match, Memory, Merge, Reconstruction, Refinement
from moonseg3r_core.types import Assignment, Frame, FrameResult, Geometry, InstanceMap


@dataclass(frozen=True)
class Rooms:
    """One tenant for each room, chosen once in `build`."""

    budget: Budget
    reconstruction: Reconstruction
    masks: MaskModel
    features: FeatureModel
    memory: Memory
    refinement: Refinement
    lift: Lift
    merge: Merge
    match: Match
    store: InstanceStore


class OnlineSegmenter:
    """A camera stream in, frame by frame; a map of object instances with stable ids out."""

    def __init__(self, rooms: Rooms, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._stopwatch = Stopwatch()
        self._rooms = rooms
        self.furnish(**vars(rooms))

    @property
    def rooms(self) -> Rooms:
        """The rooms with their tenants."""
        return self._rooms

    def furnish(self, **tenants: Any) -> None:
        """Put other tenants into rooms, by the room's name: `furnish(masks=my_model)`."""
        self._rooms = replace(self._rooms, **self._stopwatch.watch(tenants))

    def succeed(self, **tenants: Any) -> None:
        """As `furnish`, and a tenant that remembers goes on with what the one before it knew, within its own limits."""
        for name in tenants.keys() & self._remembering().keys():
            tenants[name].load_state_dict(getattr(self._rooms, name).state_dict())
        self.furnish(**tenants)

    @torch.no_grad()
    def step(self, frame: Frame) -> FrameResult:
        """Take in one frame. Raises FrameRejected for one that cannot be used; the map and all in it stay as they are."""
        room = self._rooms
        self._stopwatch.lap()
        frame = frame.to(self.device)
        if not room.budget(frame):
            return self._extend(frame, room.reconstruction(frame))
        self._begin(frame)
        geometry = room.reconstruction(frame)
        proposals = room.masks(frame, geometry)
        features = room.features(frame, geometry)
        recalled = room.memory.recall(geometry)
        queries = room.refinement(room.lift(proposals, geometry), features, geometry, recalled)
        queries = room.merge(queries, frame, geometry)
        overlap = room.store.overlap(queries, geometry)
        assignment = room.match(queries, room.store.instances, overlap)
        assignment = room.store.update(frame, geometry, queries, assignment, overlap)
        room.memory.remember(queries, geometry)
        room.budget.spend()
        ids = to_image(assignment.ids_of(queries.labels).int(), geometry, frame.size)
        return FrameResult(frame.index, frame.stamp, ids, geometry, assignment, self._stopwatch.lap())

    def _extend(self, frame: Frame, geometry: Geometry) -> FrameResult:
        """Take in a frame that is not looked at for masks: its pixels show what the map knows of them."""
        ids = to_image(self._rooms.store.extend(frame, geometry).int(), geometry, frame.size)
        return FrameResult(frame.index, frame.stamp, ids, geometry, Assignment.empty(), self._stopwatch.lap())

    def _begin(self, frame: Frame) -> None:
        """Let those rooms begin that look at the image alone and work side by side with the reconstruction."""
        for tenant in vars(self._rooms).values():
            if hasattr(tenant, "begin"):
                tenant.begin(frame)

    @torch.no_grad()
    def snapshot(self) -> InstanceMap:
        """The labelled map so far and every instance in it, on the CPU."""
        return self._rooms.store.snapshot()

    @property
    def final_ids(self) -> dict[int, int]:
        """Ids that were found to be part of another instance -> the id they go by now."""
        return dict(self._rooms.store.final_ids)

    def reset(self) -> None:
        """Forget the map, the instances and the memory; ids start from 1 again."""
        for room in (*self._remembering().values(), self._rooms.budget):
            room.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """All that is remembered, as CPU copies by dotted name: `store.map.sums`, `memory.bank.queries`..."""
        return gathered(**{name: room.state_dict() for name, room in self._remembering().items()})

    def load_state_dict(self, state: State) -> None:
        """Go on where a segmenter of the same settings was. Raises InputError, and changes nothing, for a state that is
        not whole.
        """
        before = self.state_dict()
        try:
            load_parts(state, **self._remembering())
        except Exception:
            load_parts(before, **self._remembering())
            raise

    def _remembering(self) -> dict[str, Any]:
        """The rooms that keep a state."""
        return {name: getattr(self._rooms, name) for name in ("reconstruction", "memory", "store")}
