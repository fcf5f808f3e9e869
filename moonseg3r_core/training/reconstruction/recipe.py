"""The settings of a training of the reconstruction net."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from moonseg3r_core.errors import ConfigError, InputError
from moonseg3r_core.reconstruction.cut3r.args import check_sizes
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH, Cut3rSizes
from moonseg3r_core.settings import value
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe, find_stage
from moonseg3r_core.training.reconstruction.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class CurriculumStage:
    """A part of the curriculum: steps on batches of windows of one length."""

    steps: int = value(MISSING, "optimizer steps", low=1, high=MANY)
    window: int = value(MISSING, "frames of a window", low=1, high=MANY)
    batch: int = value(MISSING, "windows of a batch", low=1, high=MANY)


@dataclass(frozen=True, kw_only=True)
class ReconstructionRecipe(BaseRecipe):
    """A run of `moonseg3r train reconstruction`."""

    sizes: Cut3rSizes = value(MISSING, "sizes of the net")
    stages: tuple[CurriculumStage, ...] = value(MISSING, "curriculum, one stage after the other")
    height: int = value(96, "height of the images", low=PATCH, high=4096)
    width: int = value(128, "width of the images", low=PATCH, high=4096)
    clip: int = value(24, "frames rendered per room", low=1, high=MANY)
    rooms: int = value(48, "clips held at a time", low=1, high=MANY)
    visits: float = value(2.0, "how often a frame is trained on before its clip goes", low=0.1, high=MANY)
    optimizer: str = value("adamw", "optimizer", choices=tuple(OPTIMIZERS))
    rate: float = 5e-4
    warmup: int = 500
    decay: float = 0.05
    ema: float = 0.999
    held_frames: int = value(32, "frames of a held-out room", low=2, high=MANY)
    score_every: int = 1000
    save_every: int = 500

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def find_stage(self, step: int) -> CurriculumStage:
        """Find the stage that a step (from 0) belongs to."""
        return find_stage(self.stages, step)

    def check(self) -> None:
        if self.height % PATCH or self.width % PATCH:
            raise ConfigError(f"height and width must be multiples of {PATCH}, got {self.height} x {self.width}.")
        if not self.stages or max(stage.window for stage in self.stages) > self.clip:
            raise ConfigError(f"stages must be one or more, with windows of 1 to {self.clip} frames (clip).")
        if max(stage.batch for stage in self.stages) > self.rooms:
            raise ConfigError(f"rooms must be as many as the largest batch or more, got {self.rooms}.")
        try:
            check_sizes(self.sizes)
        except InputError as error:  # its text is about published checkpoints
            raise ConfigError(f"sizes: {str(error).partition(';')[0].replace('the checkpoint', 'the net')}.") from error
