"""What is trained, and how: the numbers of a run, from a YAML file and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import ConfigError, InputError
from moonseg3r_core.reconstruction.cut3r.args import check_sizes
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH, Cut3rSizes
from moonseg3r_core.training.common.optimizers import OPTIMIZERS
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe, check_bounds, recipe_of


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: `steps` optimizer steps on batches of `batch` windows of `window` frames."""

    steps: int
    window: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """A run of `moonseg3r train reconstruction`.

    sizes: the net's. stages: its curriculum, one after the other. height, width: of its pictures. clip: frames rendered
    per room; rooms: clips held at a time; visits: how often a frame is trained on before its clip goes. optimizer: adamw
    or muon (see `optimizers`). The others: see BaseRecipe.
    """

    sizes: Cut3rSizes
    stages: tuple[Stage, ...]
    height: int = 96
    width: int = 128
    clip: int = 24
    rooms: int = 48
    visits: float = 2.0
    optimizer: str = "adamw"
    rate: float = 5e-4
    warmup: int = 500
    decay: float = 0.05
    ema: float = 0.999
    held_frames: int = 32
    score_every: int = 1000
    save_every: int = 500

    @property
    def steps(self) -> int:
        """All steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def check(self) -> None:
        super().check()
        check_bounds(self, _BOUNDS)
        if self.height % PATCH or self.width % PATCH:
            raise ConfigError(f"height and width must be multiples of {PATCH}, got {self.height} x {self.width}.")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}.")
        if not self.stages or any(s.steps < 1 or s.batch < 1 or not 1 <= s.window <= self.clip for s in self.stages):
            raise ConfigError(f"stages must have steps, a batch, and windows of 1 to {self.clip} frames (clip).")
        if max(s.batch for s in self.stages) > self.rooms:
            raise ConfigError(f"rooms must be as many as the largest batch or more, got {self.rooms}.")
        try:
            check_sizes(self.sizes)
        except InputError as error:  # it speaks of published checkpoints
            raise ConfigError(f"sizes: {str(error).partition(';')[0].replace('the checkpoint', 'the net')}.") from error


def read_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """As `recipe_of`."""
    return recipe_of(Recipe, path, overrides)


_BOUNDS = {
    "height": (PATCH, 4096), "width": (PATCH, 4096), "clip": (1, MANY), "rooms": (1, MANY), "visits": (0.1, MANY),
    "held_frames": (2, MANY),
}  # fmt: skip
