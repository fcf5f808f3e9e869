"""Training of the mask net on rendered rooms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.errors import InputError
from moonseg3r_core.masks.affinities import OFFSETS
from moonseg3r_core.masks.image_features import make_image_features
from moonseg3r_core.masks.mask_net import MaskNet, read_mask_net, write_mask_net
from moonseg3r_core.reconstruction.multi_view.net import read_multi_view_net
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.loop import Run
from moonseg3r_core.training.common.optimizers import make_adamw, split_parameters
from moonseg3r_core.training.masks.pictures import PictureBatch, PictureStream
from moonseg3r_core.training.masks.recipe import MaskRecipe
from moonseg3r_core.training.masks.scores import HeldOutMasks
from moonseg3r_core.weights import find

_BETAS = (0.9, 0.999)
_ESTIMATOR = "multi_view"  # weights of the net that estimates geometry
_REFERENCE_AREA = 0.02  # share of the picture of an object whose pixels have weight 1
_WEIGHT_RANGE = (0.25, 4.0)


def train_masks(
    recipe: MaskRecipe, folder: Path, *, precision: str = "auto", device: str = "auto", start: Path | None = None,
    until: float = math.inf,
) -> Path:  # fmt: skip
    """Train from the folder's last checkpoint on and return the file of weights (EMA, float16). Raises as `Run` does.

    start: weights to begin with, of the same widths.
    """
    run = MaskRun(make_fabric(device, precision, recipe.seed), recipe, folder, start)
    if run.is_complete():
        return run.weights
    estimator = read_multi_view_net(find(_ESTIMATOR)).to(run.fabric.device)
    held = (recipe.held, recipe.held_frames, estimator)
    scores = HeldOutMasks(*held).compute_scores if run.scores_held_out else None
    return run.train(PictureStream(recipe, estimator, run.step), scores, until)


class MaskRun(Run[MaskNet]):
    """Trains the affinities of pixels; `masks.nano.weights` takes its file."""

    def __init__(self, fabric: Any, recipe: MaskRecipe, folder: Path, start: Path | None = None) -> None:
        net = _make_net(recipe, start).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_adamw(split_parameters(net, recipe.decay), recipe.rate, _BETAS)
        super().__init__(fabric, recipe, folder, net, [optimizer])
        self._features = make_image_features(fabric.device)

    def advance(self, batch: PictureBatch) -> None:
        images, channels, ids = (p.to(self.fabric.device) for p in (batch.images, batch.channels, batch.ids))
        with self.fabric.autocast():
            features = self._features(images) * batch.described[:, None, None, None].to(images)
        logits = self.net(images.contiguous(memory_format=torch.channels_last), channels, features)
        loss = compute_affinity_loss(logits, ids)
        self.optimize(loss, {"loss": loss}, (len(ids), 1))

    def write(self, path: Path) -> None:
        write_mask_net(path, self.average)


def _make_net(recipe: MaskRecipe, start: Path | None) -> MaskNet:
    """Make the net before its first step. Raises InputError for weights of other widths."""
    if start is None:
        return MaskNet(recipe.widths)
    net = read_mask_net(start)
    if net.widths != tuple(recipe.widths):
        raise InputError(
            f"{start} must have the recipe's widths {list(recipe.widths)}, got {list(net.widths)}; change either."
        )
    return net.train().requires_grad_(True)


def compute_affinity_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Compute the weighted mean cross entropy of logits (B, C, H, W) with the affinities of ids (B, H, W)."""
    weights = compute_pixel_weights(ids)
    total, count = logits.new_zeros(()), logits.new_zeros(())
    for channel, (down, right) in zip(logits.unbind(1), OFFSETS, strict=True):
        height, width = max(ids.shape[1] - down, 0), max(ids.shape[2] - right, 0)
        here, there = (slice(None), slice(height), slice(width)), (slice(None), slice(down, None), slice(right, None))
        same = (ids[here] == ids[there]).float()
        weight = torch.maximum(weights[here], weights[there])
        total = total + F.binary_cross_entropy_with_logits(channel[here], same, weight, reduction="sum")
        count = count + weight.sum()
    return total / count


def compute_pixel_weights(ids: Tensor) -> Tensor:
    """Compute weights (B, H, W) of pixels, which fall with the root of the area of their object."""
    own = ids.long() + int(ids.max() + 1) * torch.arange(len(ids), device=ids.device)[:, None, None]
    areas = torch.bincount(own.flatten()).float()
    reference = _REFERENCE_AREA * ids.shape[1] * ids.shape[2]
    return (reference / areas.clamp(min=1)).sqrt().clamp(*_WEIGHT_RANGE)[own]
