"""Training a small CUT3R on rendered rooms: `train(recipe, folder)` goes on where the folder's last checkpoint stands."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r
from moonseg3r_core.reconstruction.cut3r.checkpoint_file import Checkpoint, write_checkpoint
from moonseg3r_core.reconstruction.cut3r.model import Cut3r
from moonseg3r_core.training.heldout import HeldOut
from moonseg3r_core.training.journal import Journal
from moonseg3r_core.training.losses import Truth
from moonseg3r_core.training.recipe import Recipe
from moonseg3r_core.training.speed import compiled, fast_attention
from moonseg3r_core.training.stream import Batch, Stream
from moonseg3r_core.training.unroll import Unrolled, losses

LAST, WEIGHTS, RECIPE = "last.ckpt", "weights.safetensors", "recipe.yaml"
_BETAS = (0.9, 0.95)
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
    is then `batch` per process. Raises InputError for a folder whose checkpoint is of another recipe.
    """
    fabric = engine(device, precision)
    run = Run(fabric, recipe, folder, start, compile)
    stream = Stream(recipe, fabric.device, run.step, workers, fabric.global_rank, fabric.world_size)
    held = HeldOut(recipe) if fabric.is_global_zero else None
    begun = time.monotonic()
    for batch in stream:
        run.advance(batch)
        if held and (run.step % recipe.score_every == 0 or run.step == recipe.steps):
            run.journal.scored(run.step, held.scores(run.averaged.module, fabric.device))
        over = time.monotonic() - begun > until
        if run.step % recipe.save_every == 0 or run.step == recipe.steps or over:
            run.save()
        if over:
            break
    return folder / WEIGHTS


def engine(device: str, precision: str) -> Any:
    """Lightning Fabric on what is here, or on what torchrun started; bf16 where the machine multiplies it fast.

    Raises MissingDependency where Fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise MissingDependency("training needs lightning-fabric: pip install 'moonseg3r_ros[train]'.") from error
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("WORLD_SIZE", 1))
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" or fast_bfloat16() else "32-true"
    fabric = Fabric(accelerator=accelerator, devices=local, num_nodes=max(world // local, 1), precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def fast_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16."""
    told = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("amx_bf16", False))


class Run:
    """What changes while a net is trained: the net, its mean over steps, the optimizer, the step; and its folder."""

    def __init__(self, fabric: Any, recipe: Recipe, folder: Path, start: Path | None, compile: bool) -> None:
        self.fabric, self.recipe, self.folder, self.step = fabric, recipe, folder, 0
        folder.mkdir(parents=True, exist_ok=True)
        fabric.seed_everything(recipe.seed, verbose=False)
        net = load_cut3r(start) if start else Cut3r(recipe.sizes)
        if net.sizes != recipe.sizes:
            raise InputError(f"{start} must have the recipe's sizes {recipe.sizes}, got {net.sizes}; change either.")
        net.train().requires_grad_(True)
        average = get_ema_multi_avg_fn(recipe.ema)
        self.averaged = AveragedModel(net, multi_avg_fn=average).to(fabric.device)
        optimizer = torch.optim.AdamW(groups(net, recipe.decay), lr=recipe.rate, betas=_BETAS, fused=True)
        self.net, self.optimizer = fabric.setup(Unrolled(compiled(net) if compile else net), optimizer)
        self.journal = Journal(folder, fabric.is_global_zero)
        self._resume()

    def advance(self, batch: Batch) -> None:
        """One optimizer step."""
        rate = learning_rate(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with fast_attention(self.fabric.device):
            parts = losses(self.net(batch.views), Truth.of(batch.depth, batch.intrinsics, batch.poses))
            self.fabric.backward(parts["total"])
        norm = self.fabric.clip_gradients(
            self.net, self.optimizer, max_norm=self.recipe.clip_norm, error_if_nonfinite=False
        )
        if bool(norm.isfinite()):  # type: ignore[union-attr]
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.net.module.net)
        self.step += 1
        self.journal.learned(self.step, batch.views.shape[:2], rate, parts | {"norm": norm}, every=_EVERY)

    def save(self) -> None:
        """The checkpoint, and the mean weights as a file that `reconstruction.nano.weights` takes."""
        content = {"net": self.net, "optimizer": self.optimizer, "average": self.averaged.state_dict()}
        part = self.folder / f".{LAST}.part"
        self.fabric.save(part, content | {"step": self.step, "recipe": asdict(self.recipe)})
        if self.fabric.is_global_zero:
            os.replace(part, self.folder / LAST)
            tensors = {name: tensor.half() for name, tensor in self.averaged.module.state_dict().items()}
            write_checkpoint(self.folder / WEIGHTS, Checkpoint(Path(), self.recipe.sizes, tensors, "moonseg3r train"))
            (self.folder / RECIPE).write_text(yaml.safe_dump(plain(self.recipe), sort_keys=False), encoding="utf-8")
        self.fabric.barrier()

    def _resume(self) -> None:
        last = self.folder / LAST
        if not last.exists():
            return
        content = {"net": self.net, "optimizer": self.optimizer}
        rest = self.fabric.load(last, content)
        if rest["recipe"] != asdict(self.recipe):
            raise InputError(f"{last} must be of this recipe, got another's; take another folder with -o.")
        self.averaged.load_state_dict(rest["average"])
        self.step = int(rest["step"])


def groups(net: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """The optimizer's parameters: matrices decay, biases, norms and tokens do not."""
    matrices = [p for name, p in net.named_parameters() if p.dim() > 1 and not name.endswith(_TOKENS)]
    rest = [p for name, p in net.named_parameters() if p.dim() <= 1 or name.endswith(_TOKENS)]
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


_TOKENS = ("register_tokens.weight", "pose_token", "masked_token", "pose_retriever.mem")


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
