"""Training of the multi-view depth net on rendered rooms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.multi_view.carry import carry_depth
from moonseg3r_core.reconstruction.multi_view.net import (
    Encoded,
    MultiViewNet,
    Prediction,
    Prior,
    Sources,
    make_first_prior,
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


class TwoViews(nn.Module):
    """Predicts the depth of the view before an item's own, without a gradient, then of its own by what is carried on."""

    def __init__(self, net: MultiViewNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: ViewBatch) -> Prediction:
        encoded = self.net.encode(batch.images.flatten(0, 1))
        views = len(batch.images), batch.images.shape[1]
        sources = encoded.matched.unflatten(0, views)[:, 2:]
        intrinsics = scale_intrinsics(batch.intrinsics, 4)
        firsts = [make_first_prior(part.nan_to_num(0.0), part.isfinite()) for part in batch.first.unbind(1)]
        with torch.no_grad():
            former = self._predict_former(_pick(encoded, views, 1), sources.detach(), batch, intrinsics, firsts[1])
        relative = Sources(sources, torch.linalg.inv(batch.poses[:, 2:]), batch.used[:, 2:])
        return self.net(_pick(encoded, views, 0), relative, intrinsics, firsts[0], former)

    def _predict_former(
        self, view: Encoded, sources: Tensor, batch: ViewBatch, intrinsics: Tensor, first: Prior
    ) -> Prior:
        """Predict the depth of the view before and carry it into the view."""
        pose = batch.poses[:, 1]
        with torch.autocast(pose.device.type, enabled=False):
            source_from_former = torch.linalg.inv(batch.poses[:, 2:]) @ pose[:, None]
        relative = Sources(sources, source_from_former, batch.used[:, 2:])
        nothing = Prior(torch.zeros_like(first.log_depth), torch.zeros_like(first.sigma))
        found = self.net(view, relative, intrinsics, first, nothing)
        depth, spread = carry_depth(
            found.log_depth.exp(), found.log_spread.exp(), pose, scale_intrinsics(batch.intrinsics, 2)
        )
        known = (depth > 0) & batch.used[:, 1, None, None]
        log_depth = depth.clamp(min=1e-3).log() + batch.drift
        return Prior(torch.where(known, log_depth, 0.0), torch.where(known, spread, 0.0))


class DepthRun(Run[MultiViewNet]):
    """Trains depth of views; `reconstruction.multi_view.weights` takes its file."""

    def __init__(self, fabric: Any, recipe: DepthRecipe, folder: Path, start: Path | None = None) -> None:
        net = _make_net(recipe, start).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_adamw(split_parameters(net, recipe.decay), recipe.rate, _BETAS)
        super().__init__(fabric, recipe, folder, net, [optimizer])
        self._views = TwoViews(net)

    def advance(self, batch: ViewBatch) -> None:
        with self.fabric.autocast():  # Fabric's own call of a net would round poses to bfloat16
            found = self._views(batch)
        parts = compute_losses(found, batch.depth[:, 0], self.average.log_planes)
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
        views, device = TwoViews(net.eval()), next(net.parameters()).device
        errors, spreads = [], []
        for batch in self._batches:
            found = views(batch.to(device))
            log_ratio = found.log_depth.cpu() - shrink_truth(batch.depth[:, 0], 2)
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


def scale_intrinsics(intrinsics: Tensor, factor: int) -> Tensor:
    """Scale intrinsics (..., 3, 3) to an image smaller by a factor; pixel i's center is u = i."""
    scaled = intrinsics.clone()
    scaled[..., :2, :] /= factor
    scaled[..., :2, 2] += (1 / factor - 1) / 2
    return scaled


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


def _pick(encoded: Encoded, views: tuple[int, int], number: int) -> Encoded:
    """Pick one view of each item."""
    levels = tuple(level.unflatten(0, views)[:, number] for level in encoded.levels)
    return Encoded(levels, encoded.matched.unflatten(0, views)[:, number])
