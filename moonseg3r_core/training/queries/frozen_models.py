"""The frozen models of a training of queries: made once, and reset before each clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from moonseg3r_core.build import StageSpec, specify_stages
from moonseg3r_core.config import Config
from moonseg3r_core.resolve import RecordingFacts, resolve
from moonseg3r_core.training.queries.scenes import Window


class FrozenModels:
    """The stages of a configuration before refinement, made at first use. Raises as `build_segmenter` does."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self._made: dict[str, tuple[StageSpec, Any]] = {}

    def prepare(self, window: Window) -> dict[str, Any]:
        """Prepare reconstruction, masks, features, memory and lift for a window; masks of the window's own come first."""
        config = replace(self.config, device=str(self.device))
        specs = specify_stages(resolve(config, RecordingFacts(window.masks_folder)))
        stages = {name: self._get_stage(name, specs[name]) for name in ("reconstruction", "features", "memory", "lift")}
        for name in ("reconstruction", "memory"):
            stages[name].reset()
        return {**stages, "masks": window.masks or self._get_stage("masks", specs["masks"])}

    def _get_stage(self, name: str, spec: StageSpec) -> Any:
        """Get a stage, made anew when its specification changes: each scene may have a folder of masks."""
        if name not in self._made or self._made[name][0] != spec:
            self._made[name] = spec, spec.make()
        return self._made[name][1]
