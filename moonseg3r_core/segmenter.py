"""The pipeline: what happens to one frame (paper Figure 2). No other module connects the stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.fusion.lifting import Lift
from moonseg3r_core.fusion.store import InstanceStore
from moonseg3r_core.ops.grids import resample_to_image
from moonseg3r_core.runtime.state import State, load_parts, prefix_states
from moonseg3r_core.runtime.timing import StageTimer
from moonseg3r_core.stages import FeatureModel, MaskModel, Match, Memory, Merge, Reconstruction, Refinement, Schedule
from moonseg3r_core.types import Assignment, Frame, FrameResult, Geometry, InstanceMap, MapView


@dataclass(frozen=True)
class Stages:
    """One implementation of each stage, chosen in `build`."""

    budget: Schedule  # the name that its time has in stage_ms
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
    """Segments a camera stream frame by frame into a 3D map of object instances with stable ids."""

    def __init__(self, stages: Stages, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._timer = StageTimer()
        self.stages = stages
        self.replace_stages(**vars(stages))

    def replace_stages(self, *, keep_state: bool = False, **stages: Any) -> None:
        """Replace implementations by the name of their stage: `replace_stages(masks=my_model)`.

        With `keep_state`, an implementation that has a state takes over that of the one it replaces.
        """
        for name in stages.keys() & self._stateful().keys() if keep_state else ():
            stages[name].load_state_dict(getattr(self.stages, name).state_dict())
        self.stages = replace(self.stages, **self._timer.wrap(stages))

    @torch.no_grad()
    def step(self, frame: Frame) -> FrameResult:
        """Process one frame. Raises FrameRejected for a frame that cannot be used; nothing has changed then."""
        stage = self.stages
        self._timer.restart()
        frame = frame.to(self.device)
        if not stage.budget.is_due(frame):
            return self._extend(frame, stage.reconstruction(frame))
        self._prefetch(frame)
        geometry = stage.reconstruction(frame)
        self._correct(geometry)
        view = stage.store.look_up(geometry)
        self._show_map(view)
        proposals = stage.masks(frame, geometry)
        features = stage.features(frame, geometry)
        recalled = stage.memory.recall(geometry)
        queries = stage.refinement(stage.lift(proposals, geometry), features, geometry, recalled)
        queries = stage.merge(queries, frame, geometry)
        overlap = stage.store.measure_overlap(queries, geometry, view)
        assignment = stage.match(queries, stage.store.instances, overlap)
        assignment = stage.store.update(frame, geometry, queries, assignment, overlap)
        stage.memory.remember(queries, geometry)
        stage.budget.mark_done()
        ids = resample_to_image(assignment.ids_of(queries.labels).int(), geometry, frame.size)
        return FrameResult(frame.index, frame.stamp, ids, geometry, assignment, self._timer.restart())

    def _correct(self, geometry: Geometry) -> None:
        """Place anew what hangs on key views that a frame's geometry has moved."""
        if len(geometry.corrections):
            self.stages.memory.correct(geometry.corrections)
            self.stages.store.correct(geometry.corrections)

    def _extend(self, frame: Frame, geometry: Geometry) -> FrameResult:
        """Extend the map by a frame that is not segmented; its pixels get the ids that the map has there."""
        self._correct(geometry)
        ids = resample_to_image(self.stages.store.extend(frame, geometry).int(), geometry, frame.size)
        return FrameResult(frame.index, frame.stamp, ids, geometry, Assignment.empty(), self._timer.restart())

    def _prefetch(self, frame: Frame) -> None:
        """Start the concurrent stages, which run while the reconstruction does."""
        for stage in vars(self.stages).values():
            if hasattr(stage, "prefetch"):
                stage.prefetch(frame)

    def _show_map(self, view: MapView) -> None:
        """Show what the map has in view to the stages that look at it."""
        for stage in vars(self.stages).values():
            if hasattr(stage, "show_map"):
                stage.show_map(view)

    @torch.no_grad()
    def snapshot(self) -> InstanceMap:
        """Return the labelled map so far and all its instances, on the CPU."""
        return self.stages.store.snapshot()

    @property
    def final_ids(self) -> dict[int, int]:
        """Ids of instances that were joined to another one -> the id of that one."""
        return dict(self.stages.store.final_ids)

    def reset(self) -> None:
        """Forget the map, the instances and the memory; ids start from 1 again."""
        for stage in (*self._stateful().values(), self.stages.budget):
            stage.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the whole state as CPU copies by dotted name: `store.map.sums`, `memory.bank.queries`..."""
        return prefix_states(**{name: stage.state_dict() for name, stage in self._stateful().items()})

    def load_state_dict(self, state: State) -> None:
        """Continue from the state of a segmenter with the same settings.

        Raises InputError, and changes nothing, for an incomplete state.
        """
        before = self.state_dict()
        try:
            load_parts(state, **self._stateful())
        except Exception:
            load_parts(before, **self._stateful())
            raise

    def _stateful(self) -> dict[str, Any]:
        """The stages that have a state."""
        return {name: getattr(self.stages, name) for name in ("reconstruction", "memory", "store")}
