"""What the recipes of all trainings say: how fast a net learns, what is held out, when it is saved."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.settings import read_yaml
from moonseg3r_core.training.common.yaml_facts import made

MANY = 1e9


@dataclass(frozen=True, kw_only=True)
class BaseRecipe(ABC):
    """Equal recipes and seeds give equal runs on one machine.

    rate: the highest learning rate, reached after `warmup` steps, then a cosine down to `last` of it. decay: of the
    weights; clip_norm: the longest gradient; ema: what the mean of the weights keeps of itself in a step. seed: from 0 to
    999; each has a million rooms of its own. held: held-out rooms of `held_frames`, scored every `score_every` steps.
    save_every: steps between checkpoints.
    """

    rate: float
    last: float = 0.02
    warmup: int
    decay: float
    clip_norm: float = 1.0
    ema: float
    seed: int = 0
    held: int = 6
    held_frames: int
    score_every: int
    save_every: int

    @property
    @abstractmethod
    def steps(self) -> int:
        """All steps of a run."""

    def learning_rate(self, step: int) -> float:
        """Linear from 0 over the warm-up, then half a cosine down to `last` of the highest."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.rate * (self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))

    def check(self) -> None:
        """Raises ConfigError for numbers that no run can be made of."""
        check_bounds(self, _BOUNDS)


R = TypeVar("R", bound=BaseRecipe)


def recipe_of(kind: type[R], path: Path, overrides: Mapping[str, Any] | None) -> R:
    """A recipe from a YAML file, some of its numbers replaced. Raises ConfigError for what it cannot be made of."""
    facts = {**read_yaml(path), **(overrides or {})}
    try:
        recipe = made(kind, facts)
        recipe.check()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


def check_bounds(recipe: BaseRecipe, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raises ConfigError for a number that does not lie between its lowest and its highest."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(recipe, name) <= high:
            raise ConfigError(f"{name} must lie between {low:g} and {high:g}, got {getattr(recipe, name):g}.")


_BOUNDS = {
    "rate": (0, 1), "last": (0, 1), "warmup": (0, MANY), "decay": (0, 1), "clip_norm": (1e-6, MANY), "ema": (0, 1),
    "seed": (0, 999), "held": (0, MANY), "score_every": (1, MANY), "save_every": (1, MANY),
}  # fmt: skip
