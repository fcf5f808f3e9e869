"""The settings of a training of the mask net."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.settings import value
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe


@dataclass(frozen=True, kw_only=True)
class MaskRecipe(BaseRecipe):
    """A run of `moonseg3r train masks`."""

    widths: tuple[int, ...] = value((32, 64, 112, 160, 208), "channels of the net, level by level", low=1, high=4096)
    steps: int = value(5000, "optimizer steps", low=1, high=MANY)
    batch: int = value(8, "pictures of a batch", low=1, high=MANY)
    height: int = value(192, "height of the pictures", low=32, high=4096)
    width: int = value(256, "width of the pictures", low=32, high=4096)
    frames: int = value(16, "pictures rendered per room", low=1, high=MANY)
    rooms: int = value(48, "rooms held at a time", low=1, high=MANY)
    visits: float = value(6.0, "how often a picture is trained on before its room goes", low=0.1, high=MANY)
    rate: float = 1.5e-3
    warmup: int = 200
    decay: float = 0.02
    ema: float = 0.998
    held_frames: int = 4
    score_every: int = 500
    save_every: int = 200

    def check(self) -> None:
        if not 3 <= len(self.widths) <= 8:
            raise ConfigError(f"widths must be 3 to 8 numbers, got {list(self.widths)}.")
        step = 2 ** len(self.widths)
        if self.height % step or self.width % step:
            raise ConfigError(f"height and width must be multiples of {step}, got {self.height} x {self.width}.")
        if self.batch > self.rooms:
            raise ConfigError(f"rooms must be as many as the batch ({self.batch}) or more, got {self.rooms}.")
