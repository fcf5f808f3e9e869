"""Training of queries on the outputs of frozen models (paper 3.3, 3.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.refinement.learned import QuerySizes, write_query_net
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.loop import Run
from moonseg3r_core.training.common.optimizers import make_adamw, split_parameters
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED, FIRST_SEED
from moonseg3r_core.training.queries.clips import QueryBatch, QueryClip, make_batch
from moonseg3r_core.training.queries.learner import QueryLearner
from moonseg3r_core.training.queries.pictures import draw_picture, write_picture
from moonseg3r_core.training.queries.recipe import QueryRecipe
from moonseg3r_core.training.queries.scenes import RoomScene, Scene, find_scenes
from moonseg3r_core.training.queries.scores import HeldOutQueries
from moonseg3r_core.training.queries.stream import ClipCache, QueryStream

_BETAS = (0.9, 0.999)  # AdamW's defaults; the paper names none
PICTURES = "pictures"


def train_queries(
    recipe: QueryRecipe,
    data: Sequence[str],
    folder: Path,
    *,
    cache: Path | None = None,
    precision: str = "auto",
    device: str = "auto",
    until: float = math.inf,
) -> Path:
    """Train from the folder's last checkpoint on and return the file of weights (EMA, float16).

    data: see `find_scenes`. cache: folder of the outputs of the frozen models. Under torchrun every process takes its
    share of the scenes. Raises as `Run` does, and as `build_segmenter` does for the recipe's models.
    """
    scenes = find_scenes(data, recipe.scenes, FIRST_SEED)
    fabric = make_fabric(device, precision, recipe.seed)
    recipe = replace(recipe, scenes=len(scenes), processes=fabric.world_size)
    clips = ClipCache(recipe, fabric.device, cache)
    held = [
        clip for n in range(recipe.held) if (clip := clips(RoomScene(FIRST_HELD_OUT_SEED + n), 0, recipe.held_frames))
    ]
    run = QueryRun(fabric, recipe, folder, _choose_sizes(recipe, held[:1] or _find_first_clip(clips, scenes)), held)
    if run.is_complete():
        return run.weights
    scores = (
        HeldOutQueries([make_batch([clip]).to(fabric.device) for clip in held]).compute_scores
        if run.scores_held_out
        else None
    )
    return run.train(QueryStream(recipe, scenes, clips, run.step, fabric.global_rank), scores, until)


class QueryRun(Run[QueryLearner]):
    """Trains eta, phi and psi; `refinement.learned.weights` takes its file."""

    def __init__(
        self, fabric: Any, recipe: QueryRecipe, folder: Path, sizes: QuerySizes, held: Sequence[QueryClip] = ()
    ) -> None:
        self._weights = {name: getattr(recipe, name) for name in ("seg", "dist", "xseg")}
        self._drawn_clips, self._epoch_steps = held[:1], recipe.epoch_steps
        learner = QueryLearner(sizes)
        optimizer = make_adamw(split_parameters(learner, recipe.decay), recipe.rate, _BETAS)
        super().__init__(fabric, recipe, folder, learner, [optimizer])

    def advance(self, batch: QueryBatch) -> None:
        losses: dict[str, Tensor] = self.net(batch)
        total = torch.stack([self._weights[name] * loss for name, loss in losses.items()]).sum()
        self.optimize(total, {**losses, "total": total}, batch.shares.shape[:2])
        if self.step % self._epoch_steps == 0 and self.fabric.is_global_zero:
            self._draw(self.step // self._epoch_steps)

    def write(self, path: Path) -> None:
        write_query_net(path, self.average.net)

    def _draw(self, epoch: int) -> None:
        for clip in self._drawn_clips:
            write_picture(self.folder / PICTURES / f"epoch_{epoch:04d}.png", draw_picture(self.average, clip))


def _find_first_clip(clips: ClipCache, scenes: Sequence[Scene]) -> list[QueryClip]:
    """Find the first clip of the scenes. Raises InputError for scenes without any."""
    for scene in scenes:
        if clip := clips(scene, 0, clips.recipe.frames):
            return [clip]
    names = ", ".join(scene.name for scene in scenes[:5])
    raise InputError(
        f"scenes must have windows of two usable frames or more, got none in {names}; `moonseg3r run` says why."
    )


def _choose_sizes(recipe: QueryRecipe, clips: Sequence[QueryClip]) -> QuerySizes:
    """Choose the sizes of the net, with as many input channels as the models' features."""
    geometric, semantic = (clips[0].geometric.shape[-1], clips[0].semantic.shape[-1])
    chosen = {name: getattr(recipe, name) for name in ("width", "heads", "layers", "hidden")}
    return QuerySizes(geometric, semantic, **chosen, context=recipe.xseg > 0)
