"""Training the mask net on rendered rooms: `train_masks(recipe, folder)` goes on where the folder's checkpoint stands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moonseg3r_core.masks.affinities import OFFSETS
from moonseg3r_core.masks.mask_net import MaskNet, write_mask_net
from moonseg3r_core.training.ending import Ending
from moonseg3r_core.training.engine import engine
from moonseg3r_core.training.journal import Journal
from moonseg3r_core.training.last_checkpoint import read_last, write_last
from moonseg3r_core.training.mask_recipe import MaskRecipe
from moonseg3r_core.training.mask_scores import HeldOutMasks
from moonseg3r_core.training.optimizers import groups
from moonseg3r_core.training.pictures import PictureStream
from moonseg3r_core.training.reconstruction import LAST, WEIGHTS, learning_rate

_EVERY = 50  # steps from one line of the journal to the next
_USUAL = 0.02  # share of the picture of an object whose pixels count once; of smaller ones they count more
_COUNTS = (0.25, 4.0)


def train_masks(
    recipe: MaskRecipe, folder: Path, *, precision: str = "auto", device: str = "auto", until: float = math.inf
) -> Path:
    """Train to the recipe's last step, or until `until` seconds have gone, and give the file of weights (EMA, float16).

    A Ctrl-C is answered after the step: saved, then KeyboardInterrupt. Raises InputError for a folder whose checkpoint
    is damaged or of another recipe.
    """
    run = MaskRun(engine(device, precision), recipe, folder)
    if run.step == recipe.steps:
        run.journal.say(f"{folder} has made all {run.step} steps of this recipe; nothing is left to do.")
        return folder / WEIGHTS
    held = HeldOutMasks(recipe.held, recipe.held_frames)
    with Ending(until) as ending:
        for images, ids in PictureStream(recipe, run.step):
            run.advance(images, ids)
            done, over = run.step == recipe.steps, ending.over()
            if recipe.held and (done or run.step % recipe.score_every == 0):
                run.journal.scored(run.step, held.scores(run.average))
            if done or over or run.step % recipe.save_every == 0:
                run.save()
            if over:
                break
    if ending.interrupted:
        raise KeyboardInterrupt
    return folder / WEIGHTS


class MaskRun:
    """What changes while the net is trained: the net, its mean over steps, the optimizer, the step; and its folder."""

    def __init__(self, fabric: Any, recipe: MaskRecipe, folder: Path) -> None:
        self.fabric, self.recipe, self.folder = fabric, recipe, folder
        folder.mkdir(parents=True, exist_ok=True)
        last = read_last(folder / LAST, recipe, "net", "optimizer", "average")
        fabric.seed_everything(recipe.seed, verbose=False)
        net = MaskNet(recipe.widths).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        optimizer = torch.optim.AdamW(groups(net, recipe.decay), lr=recipe.rate, fused=True)
        self.net, self.optimizer = fabric.setup(net, optimizer)
        self.step = self._resume(last) if last else 0
        self.journal = Journal(folder, fabric.is_global_zero)
        self.journal.resumed(self.step)

    @property
    def average(self) -> MaskNet:
        """The net with the mean of its weights over the latest steps."""
        return self.averaged.module  # type: ignore[return-value]

    def advance(self, images: Tensor, ids: Tensor) -> None:
        """One optimizer step on images (B, 3, H, W) in [-1, 1] and ids (B, H, W)."""
        rate = learning_rate(self.recipe, self.step)  # type: ignore[arg-type]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, ids = images.to(self.fabric.device), ids.to(self.fabric.device)
        loss = affinity_loss(self.net(images.contiguous(memory_format=torch.channels_last)), ids)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.net, self.optimizer, max_norm=self.recipe.clip_norm, error_if_nonfinite=False
        )
        finite = bool(norm.isfinite())
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.net.module)
        self.step += 1
        self.journal.learned(self.step, (len(ids), 1), rate, {"loss": loss, "norm": norm}, _EVERY, not finite)

    def save(self) -> None:
        """The checkpoint, and the mean weights as a file that `masks.nano.weights` takes."""
        parts = {"net": self.net, "optimizer": self.optimizer, "average": self.averaged}
        states = {name: part.state_dict() for name, part in parts.items()}
        write_last(self.folder / LAST, self.recipe, self.step, **states)
        write_mask_net(self.folder / WEIGHTS, self.average)

    def _resume(self, last: dict[str, Any]) -> int:
        self.net.load_state_dict(last["net"])
        self.optimizer.load_state_dict(last["optimizer"])
        self.averaged.load_state_dict(last["average"])
        return int(last["step"])


def affinity_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, C, H, W) with what ids (B, H, W) say of each pair; small objects count more."""
    counts = weights(ids)
    total, count = logits.new_zeros(()), logits.new_zeros(())
    for channel, (down, right) in zip(logits.unbind(1), OFFSETS, strict=True):
        height, width = max(ids.shape[1] - down, 0), max(ids.shape[2] - right, 0)
        here, there = (slice(None), slice(height), slice(width)), (slice(None), slice(down, None), slice(right, None))
        same = (ids[here] == ids[there]).float()
        weight = torch.maximum(counts[here], counts[there])
        total = total + F.binary_cross_entropy_with_logits(channel[here], same, weight, reduction="sum")
        count = count + weight.sum()
    return total / count


def weights(ids: Tensor) -> Tensor:
    """(B, H, W) how much each pixel counts: less than in proportion to the area of its object."""
    own = ids.long() + int(ids.max() + 1) * torch.arange(len(ids), device=ids.device)[:, None, None]
    areas = torch.bincount(own.flatten()).float()
    usual = _USUAL * ids.shape[1] * ids.shape[2]
    return (usual / areas.clamp(min=1)).sqrt().clamp(*_COUNTS)[own]
