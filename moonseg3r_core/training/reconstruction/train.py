"""Training of a small CUT3R on rendered rooms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.checkpoint import Checkpoint, load_cut3r, write_checkpoint
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.loop import Run
from moonseg3r_core.training.reconstruction.heldout import HeldOut
from moonseg3r_core.training.reconstruction.losses import Truth
from moonseg3r_core.training.reconstruction.optimizers import OPTIMIZERS
from moonseg3r_core.training.reconstruction.recipe import ReconstructionRecipe
from moonseg3r_core.training.reconstruction.speed import choose_attention, compile_blocks
from moonseg3r_core.training.reconstruction.stream import Batch, ClipStream
from moonseg3r_core.training.reconstruction.unroll import UnrolledNet, compute_losses


def train_reconstruction(
    recipe: ReconstructionRecipe,
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    workers: int = 1,
    compile: bool = False,
    start: Path | None = None,
    until: float = math.inf,
) -> Path:
    """Train from the folder's last checkpoint on and return the file of weights (EMA, float16). Raises as `Run` does.

    start: weights to begin with, of the same sizes. Under torchrun every process has its own rooms, and a batch is
    `batch` clips per process.
    """
    fabric = make_fabric(device, precision, recipe.seed, has_unused_parameters(recipe))
    run = ReconstructionRun(fabric, recipe, folder, start)
    if run.is_complete():
        return run.weights
    if compile:
        compile_blocks(run.net)
    stream = ClipStream(recipe, fabric.device, run.step, workers, fabric.global_rank, fabric.world_size)
    return run.train(stream, HeldOut(recipe).compute_scores if run.scores_held_out else None, until)


def has_unused_parameters(recipe: ReconstructionRecipe) -> bool:
    """True when some parameters get no gradient in some steps.

    A DPT head has unused convolutions, and a window of one frame never reads the state and memory that it wrote.
    """
    return recipe.sizes.head == "dpt" or any(stage.window == 1 for stage in recipe.stages)


class ReconstructionRun(Run[Cut3r]):
    """Trains points and poses of clips; `reconstruction.nano.weights` takes its file."""

    def __init__(self, fabric: Any, recipe: ReconstructionRecipe, folder: Path, start: Path | None = None) -> None:
        net = _make_net(recipe, start)
        optimizers = OPTIMIZERS[recipe.optimizer](net, recipe.rate, recipe.decay)
        super().__init__(fabric, recipe, folder, net, optimizers, UnrolledNet(net))

    def advance(self, batch: Batch) -> None:
        with choose_attention(self.fabric.device):
            outputs = self.net(batch.views)
        parts = compute_losses(outputs, Truth.from_depth(batch.depth, batch.intrinsics, batch.poses))
        self.optimize(parts["total"], parts, batch.views.shape[:2])

    def write(self, path: Path) -> None:
        tensors = {name: tensor.half() for name, tensor in self.average.state_dict().items()}
        write_checkpoint(path, Checkpoint(Path(), self.average.sizes, tensors, "moonseg3r train"))


def _make_net(recipe: ReconstructionRecipe, start: Path | None) -> Cut3r:
    """Make the net before its first step."""
    net = load_cut3r(start) if start else Cut3r(recipe.sizes)
    if net.sizes != recipe.sizes:
        raise InputError(f"{start} must have the recipe's sizes {recipe.sizes}, got {net.sizes}; change either.")
    return net.train().requires_grad_(True)
