"""How the mask net is trained: the numbers of a run, from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.training.yaml_facts import made, read_facts


@dataclass(frozen=True)
class MaskRecipe:
    """A run of `moonseg3r train masks`. Equal recipes and seeds give equal runs on one machine.

    widths: the net's. height, width: of its pictures, of which `frames` are rendered per room. rooms: held at a time;
    visits: how often a picture is trained on before its room goes. rate: the highest learning rate, reached after
    `warmup` steps, then a cosine down to `last` of it. held: held-out rooms of `held_frames` pictures, scored every
    `score_every` steps. save_every: steps between checkpoints. decay: AdamW's; clip_norm: the longest gradient; ema:
    what the mean of the weights keeps of itself in a step. seed: from 0 to 999; each has a million rooms of its own.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128, 160)
    steps: int = 5000
    batch: int = 8
    height: int = 192
    width: int = 256
    frames: int = 12
    rooms: int = 48
    visits: float = 4.0
    rate: float = 1.5e-3
    last: float = 0.02
    warmup: int = 200
    decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.998
    seed: int = 0
    held: int = 6
    held_frames: int = 4
    score_every: int = 500
    save_every: int = 200


def read_mask_recipe(path: Path, overrides: dict[str, Any] | None = None) -> MaskRecipe:
    """A recipe from a YAML file, some of its numbers replaced. Raises ConfigError for what it cannot be made of."""
    try:
        recipe = made(MaskRecipe, {**read_facts(path), **(overrides or {})})
        check(recipe)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


def check(recipe: MaskRecipe) -> None:
    """Raises ConfigError for numbers that no run can be made of."""
    for name, (low, high) in _BOUNDS.items():
        if not low <= getattr(recipe, name) <= high:
            raise ConfigError(f"{name} must lie between {low:g} and {high:g}, got {getattr(recipe, name):g}.")
    if not 1 <= len(recipe.widths) <= 8 or not all(1 <= width <= 4096 for width in recipe.widths):
        raise ConfigError(f"widths must be 1 to 8 numbers from 1 to 4096, got {list(recipe.widths)}.")
    step = 2 ** len(recipe.widths)
    if recipe.height % step or recipe.width % step:
        raise ConfigError(f"height and width must be multiples of {step}, got {recipe.height} x {recipe.width}.")
    if recipe.batch > recipe.rooms:
        raise ConfigError(f"rooms must be as many as the batch ({recipe.batch}) or more, got {recipe.rooms}.")


_MANY = 1e9
_BOUNDS = {
    "steps": (1, _MANY), "batch": (1, _MANY), "height": (32, 4096), "width": (32, 4096), "frames": (1, _MANY),
    "rooms": (1, _MANY), "visits": (0.1, _MANY), "rate": (0, 1), "last": (0, 1), "warmup": (0, _MANY), "decay": (0, 1),
    "clip_norm": (1e-6, _MANY), "ema": (0, 1), "seed": (0, 999), "held": (0, _MANY), "held_frames": (1, _MANY),
    "score_every": (1, _MANY), "save_every": (1, _MANY),
}  # fmt: skip
