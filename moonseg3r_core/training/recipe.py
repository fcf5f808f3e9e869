"""What is trained, and how: the numbers of a run, from a YAML file and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import ConfigError, InputError
from moonseg3r_core.reconstruction.cut3r.args import check_sizes
from moonseg3r_core.reconstruction.cut3r.sizes import PATCH, Cut3rSizes
from moonseg3r_core.training.yaml_facts import made, read_facts

OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: `steps` optimizer steps on batches of `batch` windows of `window` frames."""

    steps: int
    window: int
    batch: int


@dataclass(frozen=True)
class Recipe:
    """A run of `moonseg3r train reconstruction`. Equal recipes and seeds give equal runs on one machine.

    sizes: the net's. stages: its curriculum, one after the other. height, width: of its pictures. clip: frames rendered
    per room; rooms: clips held at a time; visits: how often a frame is trained on before its clip goes. optimizer: adamw
    or muon (see `optimizers`). rate: the highest learning rate, reached after `warmup` steps, then a cosine down to `last`
    of it. held: held-out rooms scored every `score_every` steps over `held_frames`. save_every: steps between checkpoints.
    decay: of the weights; clip_norm: the longest gradient; ema: what the mean of the weights keeps of itself in a step.
    seed: from 0 to 999; each has a million rooms of its own.
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
    last: float = 0.02
    warmup: int = 500
    decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.999
    seed: int = 0
    held: int = 6
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


def read_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """A recipe from a YAML file, some of its numbers replaced. Raises ConfigError for what it cannot be made of."""
    try:
        recipe = made(Recipe, {**read_facts(path), **(overrides or {})})
        check(recipe)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


def check(recipe: Recipe) -> None:
    """Raises ConfigError for numbers that no run can be made of."""
    for name, (low, high) in _BOUNDS.items():
        if not low <= getattr(recipe, name) <= high:
            raise ConfigError(f"{name} must lie between {low:g} and {high:g}, got {getattr(recipe, name):g}.")
    if recipe.height % PATCH or recipe.width % PATCH:
        raise ConfigError(f"height and width must be multiples of {PATCH}, got {recipe.height} x {recipe.width}.")
    if recipe.optimizer not in OPTIMIZERS:
        raise ConfigError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {recipe.optimizer!r}.")
    if not recipe.stages or any(s.steps < 1 or s.batch < 1 or not 1 <= s.window <= recipe.clip for s in recipe.stages):
        raise ConfigError(f"stages must have steps, a batch, and windows of 1 to {recipe.clip} frames (clip).")
    if max(s.batch for s in recipe.stages) > recipe.rooms:
        raise ConfigError(f"rooms must be as many as the largest batch or more, got {recipe.rooms}.")
    try:
        check_sizes(recipe.sizes)
    except InputError as error:  # it speaks of published checkpoints
        raise ConfigError(f"sizes: {str(error).partition(';')[0].replace('the checkpoint', 'the net')}.") from error


_MANY = 1e9
_BOUNDS = {
    "height": (PATCH, 4096), "width": (PATCH, 4096), "clip": (1, _MANY), "rooms": (1, _MANY), "visits": (0.1, _MANY),
    "rate": (0, 1), "last": (0, 1), "warmup": (0, _MANY), "decay": (0, 1), "clip_norm": (1e-6, _MANY), "ema": (0, 1),
    "seed": (0, 999), "held": (0, _MANY), "held_frames": (2, _MANY), "score_every": (1, _MANY), "save_every": (1, _MANY),
}  # fmt: skip
