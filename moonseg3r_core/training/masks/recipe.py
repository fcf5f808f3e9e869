"""How the mask net is trained: the numbers of a run, from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe, check_bounds, recipe_of


@dataclass(frozen=True, kw_only=True)
class MaskRecipe(BaseRecipe):
    """A run of `moonseg3r train masks`.

    widths: the net's. height, width: of its pictures, of which `frames` are rendered per room. rooms: held at a time;
    visits: how often a picture is trained on before its room goes. The others: see BaseRecipe.
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
    warmup: int = 200
    decay: float = 0.02
    ema: float = 0.998
    held_frames: int = 4
    score_every: int = 500
    save_every: int = 200

    def check(self) -> None:
        super().check()
        check_bounds(self, _BOUNDS)
        if not 1 <= len(self.widths) <= 8 or not all(1 <= width <= 4096 for width in self.widths):
            raise ConfigError(f"widths must be 1 to 8 numbers from 1 to 4096, got {list(self.widths)}.")
        step = 2 ** len(self.widths)
        if self.height % step or self.width % step:
            raise ConfigError(f"height and width must be multiples of {step}, got {self.height} x {self.width}.")
        if self.batch > self.rooms:
            raise ConfigError(f"rooms must be as many as the batch ({self.batch}) or more, got {self.rooms}.")


def read_mask_recipe(path: Path, overrides: dict[str, Any] | None = None) -> MaskRecipe:
    """As `recipe_of`."""
    return recipe_of(MaskRecipe, path, overrides)


_BOUNDS = {
    "steps": (1, MANY), "batch": (1, MANY), "height": (32, 4096), "width": (32, 4096), "frames": (1, MANY),
    "rooms": (1, MANY), "visits": (0.1, MANY), "held_frames": (1, MANY),
}  # fmt: skip
