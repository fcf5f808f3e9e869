"""Training of the multi-view depth net on rendered rooms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.intrinsics import scale_intrinsics
from moonseg3r_core.reconstruction.multi_view.net import (
    Encoded,
    FirstDepth,
    MultiViewNet,
    Prediction,
    Sources,
    read_multi_view_net,
    write_multi_view_net,
)
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.loop import Run
from moonseg3r_core.training.common.optimizers import make_adamw, split_parameters
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED
from moonseg3r_core.training.depth.losses import compute_losses, shrink_truth
from moonseg3r_core.training.depth.recipe import DepthRecipe
from moonseg3r_core.training.depth.views import ViewBatch, ViewStream, make_batch, make_depth_clip

_BETAS = (0.9, 0.999)


def train_depth(
    recipe: DepthRecipe, folder: Path, *, precision: str = "auto", device: str = "auto", start: Path | None = None,
    until: float = math.inf,
) -> Path:  # fmt: skip
    """Train from the folder's last checkpoint on and return the file of weights (EMA, float16). Raises as `Run` does.

    start: weights to begin with, of the same sizes.
    """
    run = DepthRun(make_fabric(device, precision, recipe.seed), recipe, folder, start)
    if run.is_complete():
        return run.weights
    scores = HeldOutDepth(recipe).compute_scores if run.scores_held_out else None
    return run.train(ViewStream(recipe, run.fabric.device, run.step), scores, until)


def predict_batch(net: MultiViewNet, batch: ViewBatch) -> Prediction:
    """Predict the depth of each item's view."""
    encoded = net.encode(batch.images.flatten(0, 1))
    views = batch.images.shape[:2]
    matched, fine = (maps.unflatten(0, views) for maps in (encoded.matched, encoded.matched_fine))
    view = Encoded(tuple(level.unflatten(0, views)[:, 0] for level in encoded.levels), matched[:, 0], fine[:, 0])
    with torch.autocast(batch.images.device.type, enabled=False):  # a pixel's place needs all digits
        source_from_view = torch.linalg.inv(batch.poses[:, 1:])
    sources = Sources(matched[:, 1:], fine[:, 1:], source_from_view, batch.used)
    first = FirstDepth(batch.first.nan_to_num(0.0), batch.first.isfinite())
    return net(view, sources, scale_intrinsics(batch.intrinsics, 4), first)


class DepthRun(Run[MultiViewNet]):
    """Trains depth of views; `reconstruction.multi_view.weights` takes its file."""

    def __init__(self, fabric: Any, recipe: DepthRecipe, folder: Path, start: Path | None = None) -> None:
        net = _make_net(recipe, start).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_adamw(split_parameters(net, recipe.decay), recipe.rate, _BETAS)
        super().__init__(fabric, recipe, folder, net, [optimizer])

    def advance(self, batch: ViewBatch) -> None:
        with self.fabric.autocast():  # Fabric's own call of a net would round poses to bfloat16
            found = predict_batch(self._bare_net, batch)
        parts = compute_losses(found, batch.depth, self.average.log_planes)
        self.optimize(parts["total"], parts, batch.images.shape[:2])

    def write(self, path: Path) -> None:
        write_multi_view_net(path, self.average)


class HeldOutDepth:
    """Views of held-out rooms with the errors of the training, kept in memory."""

    def __init__(self, recipe: DepthRecipe) -> None:
        stage = recipe.stages[-1]
        size = recipe.held_frames, recipe.height, recipe.width
        clips = [make_depth_clip(FIRST_HELD_OUT_SEED + number, *size) for number in range(recipe.held)]
        generator = torch.Generator().manual_seed(0)
        self._batches = [make_batch([clip] * 4, stage, recipe.sources, generator) for clip in clips]

    @torch.no_grad()
    def compute_scores(self, net: MultiViewNet) -> dict[str, float]:
        """Compute abs-rel and delta < 1.25 of all pixels, and abs-rel of the surer half."""
        net, device = net.eval(), next(net.parameters()).device
        errors, spreads = [], []
        for batch in self._batches:
            found = predict_batch(net, batch.to(device))
            log_ratio = found.log_depth.cpu() - shrink_truth(batch.depth, 2)
            known = log_ratio.isfinite()
            errors.append(log_ratio[known])
            spreads.append(found.log_spread.cpu()[known])
        net.train()
        log_ratio, spread = torch.cat(errors), torch.cat(spreads)
        relative = (log_ratio.exp() - 1).abs()
        return {
            "abs_rel": float(relative.mean()),
            "delta": float((log_ratio.abs() < math.log(1.25)).float().mean()),
            "surer_abs_rel": float(relative[spread < spread.median()].mean()),
        }


def _make_net(recipe: DepthRecipe, start: Path | None) -> MultiViewNet:
    """Make the net before its first step. Raises InputError for weights of other sizes."""
    if start is None:
        return MultiViewNet(recipe.widths, recipe.planes)
    net = read_multi_view_net(start)
    if (net.widths, net.planes) != (recipe.widths, recipe.planes):
        raise InputError(
            f"{start} must have the recipe's widths {list(recipe.widths)} and {recipe.planes} planes, got "
            f"{list(net.widths)} and {net.planes}; change either."
        )
    return net.train().requires_grad_(True)
