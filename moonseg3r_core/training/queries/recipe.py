"""How queries are trained: the numbers of a run, from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.training.common.recipe import MANY, BaseRecipe, check_bounds, recipe_of


@dataclass(frozen=True, kw_only=True)
class QueryRecipe(BaseRecipe):
    """A run of `moonseg3r train queries`.

    stack: settings by dotted names, of the frozen models that the queries are for. width, heads, layers, hidden: the
    net's (see `QuerySizes`). epochs: walks through all scenes, each giving a clip of `frames` adjacent frames, every
    `stride`-th of a recording, one of its `windows`. batch: clips per step of a process, of which there are `processes`.
    cut: the chance that a mask is cut in two (see `cut_up`); forget: that those of a frame recall nothing. seg, dist, xseg:
    weights of the losses; with xseg 0 queries see no context, in training and after it. scenes: how many procedural rooms,
    where the data names them; a run records how many scenes of all kinds it has, and its processes. The others: see
    BaseRecipe; all seeds see the same rooms.
    """

    stack: dict[str, Any] = field(default_factory=dict)
    width: int = 256
    heads: int = 8
    layers: int = 3
    hidden: int = 4
    epochs: int = 100
    frames: int = 16
    stride: int = 1
    windows: int = 1
    batch: int = 4
    scenes: int = 0
    processes: int = 1
    cut: float = 0.5
    forget: float = 0.5
    seg: float = 1.0
    dist: float = 0.1
    xseg: float = 0.5
    rate: float = 1e-4
    last: float = 0.1
    warmup: int = 0
    decay: float = 0.05
    ema: float = 0.99
    held: int = 8
    held_frames: int = 16
    score_every: int = 100
    save_every: int = 100

    @property
    def epoch_steps(self) -> int:
        """Steps of one walk through the scenes."""
        return -(-self.scenes // (self.batch * self.processes))

    @property
    def steps(self) -> int:
        return self.epochs * self.epoch_steps

    @property
    def config(self) -> Config:
        """The settings of the frozen models, the others as they are by default."""
        return load_config(overrides=self.stack)

    def check(self) -> None:
        super().check()
        check_bounds(self, _BOUNDS)
        if self.width % self.heads:
            raise ConfigError(f"width must be a multiple of heads ({self.heads}), got {self.width}.")
        try:
            memory = load_config(overrides={str(name): value for name, value in self.stack.items()}).memory.kind
        except ConfigError as error:
            raise ConfigError(f"stack: {str(error).removeprefix('--set: ')}") from error
        if memory == "none":
            raise ConfigError("stack: memory.kind must be index, got none; say xseg: 0 for queries without a memory.")


def read_query_recipe(path: Path, overrides: dict[str, Any] | None = None) -> QueryRecipe:
    """As `recipe_of`."""
    return recipe_of(QueryRecipe, path, overrides)


_BOUNDS = {
    "width": (8, 4096), "heads": (1, 64), "layers": (1, 64), "hidden": (1, 16), "epochs": (1, MANY), "frames": (2, 1024),
    "stride": (1, MANY), "windows": (1, MANY), "batch": (1, MANY), "scenes": (0, MANY), "cut": (0, 1), "forget": (0, 1), "processes": (1, MANY), "seg": (0, MANY),
    "dist": (0, MANY), "xseg": (0, MANY), "held_frames": (2, 1024),
}  # fmt: skip
