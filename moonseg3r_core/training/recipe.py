"""What is trained, and how: the numbers of a run, from a YAML file and the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.reconstruction.cut3r.sizes import PATCH, Cut3rSizes


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: `steps` optimizer steps on batches of `batch` windows of `window` frames."""

    steps: int
    window: int
    batch: int


@dataclass(frozen=True)
class Recipe:
    """A run of `moonseg3r train reconstruction`. Equal recipes and seeds give equal runs on one machine.

    sizes: the net's. height, width: of its pictures. clip: frames rendered per room; rooms: clips held at a time;
    visits: how often a frame is trained on before its clip goes. rate: the highest learning rate, reached after
    `warmup` steps, then a cosine down to `last` of it. held: held-out rooms scored every `score_every` steps over
    `held_frames`. save_every: steps between checkpoints.
    """

    sizes: Cut3rSizes
    stages: tuple[Stage, ...]
    height: int = 96
    width: int = 128
    clip: int = 24
    rooms: int = 48
    visits: float = 2.0
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
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        facts = {**facts, **(overrides or {})}
        sizes = Cut3rSizes(**facts.pop("sizes"))
        stages = tuple(Stage(**stage) for stage in facts.pop("stages"))
        recipe = Recipe(sizes=sizes, stages=stages, **facts)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; give a recipe such as config/train_nano.yaml."
        ) from error
    except (yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"{path} must be a recipe such as config/train_nano.yaml, got one that is none: {error}."
        ) from error
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Raises ConfigError for numbers that no run can be made of."""
    wrong = [name for name, low in _LOWEST.items() if getattr(recipe, name) < low]
    if wrong:
        raise ConfigError(f"{wrong[0]} must be {_LOWEST[wrong[0]]} or more, got {getattr(recipe, wrong[0])}.")
    if recipe.height % PATCH or recipe.width % PATCH:
        raise ConfigError(f"height and width must be multiples of {PATCH}, got {recipe.height} x {recipe.width}.")
    if not recipe.stages or any(s.steps < 1 or s.batch < 1 or not 1 <= s.window <= recipe.clip for s in recipe.stages):
        raise ConfigError(f"stages must have steps, a batch, and windows of 1 to {recipe.clip} frames (clip).")
    if max(s.batch for s in recipe.stages) > recipe.rooms:
        raise ConfigError(f"rooms must be as many as the largest batch, got {recipe.rooms}.")


_LOWEST = {
    "clip": 1,
    "rooms": 1,
    "visits": 0.1,
    "warmup": 0,
    "held": 0,
    "held_frames": 2,
    "score_every": 1,
    "save_every": 1,
}
