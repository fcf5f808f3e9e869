"""Training a small CUT3R on rendered rooms: `train(recipe, folder)` goes on where the folder's last checkpoint stands."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r
from moonseg3r_core.reconstruction.cut3r.checkpoint_file import Checkpoint, write_checkpoint
from moonseg3r_core.reconstruction.cut3r.model import Cut3r
from moonseg3r_core.training.ending import Ending
from moonseg3r_core.training.engine import engine
from moonseg3r_core.training.heldout import HeldOut
from moonseg3r_core.training.journal import Journal
from moonseg3r_core.training.last_checkpoint import read_last, write_last
from moonseg3r_core.training.losses import Truth
from moonseg3r_core.training.optimizers import optimizers
from moonseg3r_core.training.recipe import Recipe
from moonseg3r_core.training.speed import compiled, fast_attention
from moonseg3r_core.training.stream import Batch, Stream
from moonseg3r_core.training.unroll import Unrolled, losses

LAST, WEIGHTS, RECIPE = "last.ckpt", "weights.safetensors", "recipe.yaml"
_EVERY = 50  # steps from one line of the journal to the next


def train(
    recipe: Recipe,
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    workers: int = 1,
    compile: bool = False,
    start: Path | None = None,
    until: float = math.inf,
) -> Path:
    """Train to the recipe's last step, or until `until` seconds have gone, and give the file of weights (EMA, float16).

    start: weights to begin with, of the same sizes. Under torchrun every process takes its share of the rooms; a batch
    is then `batch` per process, and the first one's clock is that of all. A Ctrl-C is answered after the step: saved,
    then KeyboardInterrupt. Raises InputError for a folder whose checkpoint is damaged or of another recipe.
    """
    fabric = engine(device, precision, leaves_parameters_out(recipe))
    run = Run(fabric, recipe, folder, start, compile)
    if run.step == recipe.steps:
        run.journal.say(f"{folder} has made all {run.step} steps of this recipe; nothing is left to do.")
        return folder / WEIGHTS
    stream = Stream(recipe, fabric.device, run.step, workers, fabric.global_rank, fabric.world_size)
    held = HeldOut(recipe) if fabric.is_global_zero and recipe.held else None
    with Ending(until) as ending:
        for batch in stream:
            run.advance(batch)
            done = run.step == recipe.steps
            if held and (done or run.step % recipe.score_every == 0):
                run.journal.scored(run.step, held.scores(run.average, fabric.device))
            over = fabric.broadcast(ending.over())
            if done or over or run.step % recipe.save_every == 0:
                run.save()
            if over:
                break
    if ending.interrupted:
        raise KeyboardInterrupt
    return folder / WEIGHTS


def leaves_parameters_out(recipe: Recipe) -> bool:
    """Whether some parameters get no gradient in some steps: a DPT head has convolutions that nothing passes through,
    and a window of one frame never reads what was written into state and memory.
    """
    return recipe.sizes.head == "dpt" or any(stage.window == 1 for stage in recipe.stages)


class Run:
    """What changes while a net is trained: the net, its mean over steps, the optimizer, the step; and its folder."""

    def __init__(self, fabric: Any, recipe: Recipe, folder: Path, start: Path | None, compile: bool) -> None:
        self.fabric, self.recipe, self.folder = fabric, recipe, folder
        _make(folder)
        last = read_last(folder / LAST, recipe, "net", "average", "optimizer_0")
        fabric.seed_everything(recipe.seed, verbose=False)
        net = _begin(recipe, start)
        self.averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        chosen = optimizers(net, recipe)
        self.net, *self.optimizers = fabric.setup(Unrolled(compiled(net) if compile else net), *chosen)
        self.step = self._resume(last) if last else 0
        self.journal = Journal(folder, fabric.is_global_zero)
        self.journal.resumed(self.step)

    @property
    def average(self) -> Cut3r:
        """The net with the mean of its weights over the latest steps."""
        return self.averaged.module  # type: ignore[return-value]

    def advance(self, batch: Batch) -> None:
        """One optimizer step; one whose gradients are not finite is skipped."""
        rate = learning_rate(self.recipe, self.step)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        with fast_attention(self.fabric.device):
            parts = losses(self.net(batch.views), Truth.of(batch.depth, batch.intrinsics, batch.poses))
            self.fabric.backward(parts["total"])
        norm = clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)  # Fabric's own sees one optimizer's
        finite = bool(norm.isfinite())
        for optimizer in self.optimizers:
            if finite:
                optimizer.step()
            optimizer.zero_grad()
        self.averaged.update_parameters(self.net.module.net)
        self.step += 1
        self.journal.learned(self.step, batch.views.shape[:2], rate, parts | {"norm": norm}, _EVERY, not finite)

    def save(self) -> None:
        """The checkpoint, and the mean weights as a file that `reconstruction.nano.weights` takes."""
        if self.fabric.is_global_zero:
            states = {name: part.state_dict() for name, part in self._parts().items()}
            write_last(self.folder / LAST, self.recipe, self.step, **states)
            tensors = {name: tensor.half() for name, tensor in self.average.state_dict().items()}
            write_checkpoint(self.folder / WEIGHTS, Checkpoint(Path(), self.recipe.sizes, tensors, "moonseg3r train"))
            (self.folder / RECIPE).write_text(yaml.safe_dump(plain(self.recipe), sort_keys=False), encoding="utf-8")
        self.fabric.barrier()

    def _resume(self, last: dict[str, Any]) -> int:
        for name, part in self._parts().items():
            part.load_state_dict(last[name])
        return int(last["step"])

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        numbered = {f"optimizer_{n}": optimizer for n, optimizer in enumerate(self.optimizers)}
        return {"net": self.net, "average": self.averaged, **numbered}


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear from 0 over the warm-up, then half a cosine down to `last` of the highest."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    return recipe.rate * (recipe.last + (1 - recipe.last) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as YAML holds it."""
    facts = asdict(recipe)
    facts["stages"] = [dict(stage) for stage in facts["stages"]]
    facts["sizes"] = {name: list(v) if isinstance(v, tuple) else v for name, v in facts["sizes"].items()}
    return facts


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the folder {folder}: {error.strerror}; name another one with -o.") from error


def _begin(recipe: Recipe, start: Path | None) -> Cut3r:
    """The net before its first step."""
    net = load_cut3r(start) if start else Cut3r(recipe.sizes)
    if net.sizes != recipe.sizes:
        raise InputError(f"{start} must have the recipe's sizes {recipe.sizes}, got {net.sizes}; change either.")
    return net.train().requires_grad_(True)
