"""The settings that the recipes of all trainings share: learning rate, held-out rooms, checkpoints."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.settings import make_settings, read_yaml, value

MANY = 1e9


@dataclass(frozen=True, kw_only=True)
class BaseRecipe(ABC):
    """Equal recipes with equal seeds give equal runs on one machine. A subclass may give a setting another default."""

    rate: float = value(MISSING, "highest learning rate, after the warm-up", low=0, high=1)
    last: float = value(0.02, "the learning rate falls as a cosine to this share of `rate`", low=0, high=1)
    warmup: int = value(MISSING, "steps over which the learning rate rises from 0", low=0, high=MANY)
    decay: float = value(MISSING, "decay of the weights", low=0, high=1)
    clip_norm: float = value(1.0, "greatest norm of the gradient", low=1e-6, high=MANY)
    ema: float = value(MISSING, "share of the averaged weights that a step keeps", low=0, high=1)
    seed: int = value(0, "seed of the run; each has a million rooms of its own", low=0, high=999)
    held: int = value(6, "held-out rooms", low=0, high=MANY)
    held_frames: int = value(MISSING, "frames of a held-out room", low=1, high=MANY)
    score_every: int = value(MISSING, "steps between scores on the held-out rooms", low=1, high=MANY)
    save_every: int = value(MISSING, "steps between checkpoints", low=1, high=MANY)

    @property
    @abstractmethod
    def steps(self) -> int:
        """All steps of a run."""

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError for settings that do not suit one another."""

    def compute_rate(self, step: int) -> float:
        """Compute the learning rate: linear from 0 over the warm-up, then half a cosine down to `last` of `rate`."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.rate * (self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


class Stage(Protocol):
    """A part of a curriculum."""

    @property
    def steps(self) -> int: ...


R = TypeVar("R", bound=BaseRecipe)
S = TypeVar("S", bound=Stage)


def find_stage(stages: Sequence[S], step: int) -> S:
    """Find the stage of a curriculum that a step (from 0) belongs to; the last one beyond its end."""
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def read_recipe(kind: type[R], path: Path, overrides: Mapping[str, Any] | None = None) -> R:
    """Read a recipe from a YAML file and replace some settings. Raises ConfigError."""
    recipe = make_settings(kind, {**read_yaml(path), **(overrides or {})}, str(path))
    try:
        recipe.check()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe
