"""The models that queries are trained on: made once for all clips, each of which they see as if it were their first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from moonseg3r_core.build import StageSpec, specify_stages
from moonseg3r_core.config import Config
from moonseg3r_core.resolve import RecordingFacts, resolve
from moonseg3r_core.training.queries.scenes import Window


class FrozenModels:
    """The rooms of a configuration that come before refinement. Raises as `build_segmenter` does, when they are asked for."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self._made: dict[str, tuple[StageSpec, Any]] = {}

    def prepare(self, window: Window) -> dict[str, Any]:
        """reconstruction, masks, features, memory and lift for a window, whose own masks come first; they remember nothing."""
        config = replace(self.config, device=str(self.device))
        wanted = specify_stages(resolve(config, RecordingFacts(window.masks_folder)))
        rooms = {room: self._kept(room, wanted[room]) for room in ("reconstruction", "features", "memory", "lift")}
        for room in ("reconstruction", "memory"):
            rooms[room].reset()
        return {**rooms, "masks": window.masks or self._kept("masks", wanted["masks"])}

    def _kept(self, room: str, spec: StageSpec) -> Any:
        """A room's tenant, another one only where its recipe is: a scene may bring masks of its own."""
        if room not in self._made or self._made[room][0] != spec:
            self._made[room] = spec, spec.make()
        return self._made[room][1]
