"""The settings of a training of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.settings import section, value
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe


@dataclass(frozen=True, kw_only=True)
class QueryRecipe(BaseRecipe):
    """A run of `moonseg3r train queries`. All seeds see the same rooms.

    stack: settings of the frozen models by dotted names. A run records its own `scenes` and `processes`.
    """

    stack: dict[str, Any] = section(dict)
    width: int = value(256, "width of a query", low=8, high=4096)
    heads: int = value(8, "heads of the net's attention", low=1, high=64)
    layers: int = value(3, "layers of the net", low=1, high=64)
    hidden: int = value(4, "width of the net's MLPs, times `width`", low=1, high=16)
    epochs: int = value(100, "passes over all scenes, each with one clip per scene", low=1, high=MANY)
    frames: int = value(16, "frames of a clip", low=2, high=1024)
    stride: int = value(1, "every n-th frame of a recording", low=1, high=MANY)
    windows: int = value(1, "different clips of a scene; epochs take them in turn", low=1, high=MANY)
    batch: int = value(4, "clips of a batch, per process", low=1, high=MANY)
    scenes: int = value(0, "procedural rooms, where the data names `rooms`", low=0, high=MANY)
    processes: int = value(1, "processes of the run", low=1, high=MANY)
    cut: float = value(0.5, "chance that a mask is cut in two", low=0, high=1)
    forget: float = value(0.5, "chance that the masks of a frame recall nothing", low=0, high=1)
    seg: float = value(1.0, "weight of the segmentation loss (paper eq 5)", low=0, high=MANY)
    dist: float = value(0.1, "weight of the distillation loss (paper eq 6)", low=0, high=MANY)
    xseg: float = value(0.5, "weight of the cross-frame loss (paper eq 10); 0: no context at all", low=0, high=MANY)
    rate: float = 1e-4
    last: float = 0.1
    warmup: int = 0
    decay: float = 0.05
    ema: float = 0.99
    held: int = 8
    held_frames: int = value(16, "frames of a held-out room", low=2, high=1024)
    score_every: int = 100
    save_every: int = 100

    @property
    def epoch_steps(self) -> int:
        """Steps of one pass over the scenes."""
        return -(-self.scenes // (self.batch * self.processes))

    @property
    def steps(self) -> int:
        return self.epochs * self.epoch_steps

    @property
    def config(self) -> Config:
        """The configuration of the frozen models: `stack` over the defaults."""
        return load_config(overrides=self.stack)

    def check(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width must be a multiple of heads ({self.heads}), got {self.width}.")
        try:
            memory = load_config(overrides={str(name): value for name, value in self.stack.items()}).memory.kind
        except ConfigError as error:
            raise ConfigError(f"stack: {str(error).removeprefix('--set: ')}") from error
        if memory == "none":
            raise ConfigError("stack: memory.kind must be index, got none; say xseg: 0 for queries without a memory.")
