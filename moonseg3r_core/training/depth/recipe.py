"""The settings of a training of the multi-view depth net."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.reconstruction.multi_view.net import STEP
from moonseg3r_core.settings import value
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe, find_stage


@dataclass(frozen=True)
class DepthStage:
    """A part of the curriculum: steps on batches of views of one size."""

    steps: int = value(MISSING, "optimizer steps", low=1, high=MANY)
    batch: int = value(MISSING, "views of a batch", low=1, high=MANY)
    height: int = value(MISSING, "height of the images", low=STEP, high=4096)
    width: int = value(MISSING, "width of the images", low=STEP, high=4096)


@dataclass(frozen=True, kw_only=True)
class DepthRecipe(BaseRecipe):
    """A run of `moonseg3r train depth`."""

    widths: tuple[int, ...] = value((72, 112, 144), "channels of the net at 1/4, 1/8, 1/16", low=1, high=4096)
    planes: int = value(48, "planes of the sweep", low=8, high=512)
    stages: tuple[DepthStage, ...] = value(MISSING, "curriculum, one stage after the other")
    height: int = value(240, "height of the rendered images", low=STEP, high=4096)
    width: int = value(320, "width of the rendered images", low=STEP, high=4096)
    sources: int = value(4, "other views of a view, at most", low=1, high=16)
    clip: int = value(20, "frames rendered per room", low=4, high=MANY)
    rooms: int = value(40, "clips held at a time", low=1, high=MANY)
    visits: float = value(1.0, "how often a frame is trained on before its clip goes", low=0.01, high=MANY)
    rate: float = 6e-4
    warmup: int = 300
    decay: float = 0.02
    ema: float = 0.998
    held: int = 6
    held_frames: int = value(12, "frames of a held-out room", low=4, high=MANY)
    score_every: int = 500
    save_every: int = 100

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def find_stage(self, step: int) -> DepthStage:
        """Find the stage that a step (from 0) belongs to."""
        return find_stage(self.stages, step)

    def check(self) -> None:
        if len(self.widths) != 3:
            raise ConfigError(f"widths must be 3 numbers, got {list(self.widths)}.")
        if not self.stages:
            raise ConfigError("stages must be one or more, got none.")
        for stage in self.stages:
            if stage.height % STEP or stage.width % STEP:
                raise ConfigError(f"a stage's sides must be multiples of {STEP}, got {stage.height} x {stage.width}.")
            if stage.batch > self.rooms:
                raise ConfigError(f"rooms must be as many as the largest batch ({stage.batch}), got {self.rooms}.")
