"""The training loop of any net: steps, scores, and checkpoints from which a run goes on exactly."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.runtime.interrupt import defer_interrupts
from moonseg3r_core.training.common.checkpoint import make_folder, read_last, write_last
from moonseg3r_core.training.common.log import TrainingLog
from moonseg3r_core.training.common.recipe import BaseRecipe

LAST, WEIGHTS, RECIPE = "last.ckpt", "weights.safetensors", "recipe.yaml"
_EVERY = 50  # steps between rows of the log

N = TypeVar("N", bound=nn.Module)


class Run(ABC, Generic[N]):
    """The state of a training: the net, its weights averaged over steps, the optimizers, the step, the folder.

    A subclass defines a step (`advance`, which calls `optimize`) and the file of weights (`write`).
    """

    def __init__(
        self,
        fabric: Any,
        recipe: BaseRecipe,
        folder: Path,
        net: N,
        optimizers: Sequence[Optimizer],
        learner: nn.Module | None = None,
    ) -> None:
        """Restore the folder's checkpoint, or begin. learner: a module that wraps the net and is called in its place.

        Raises InputError for a checkpoint that is damaged or of another recipe, OutputError for the folder.
        """
        self.fabric, self.recipe, self.folder, self._bare_net = fabric, recipe, folder, net
        make_folder(folder, "-o")
        self.averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        self.net, *self.optimizers = fabric.setup(net if learner is None else learner, *optimizers)
        self.step = self._restore()
        self.log = TrainingLog(folder, fabric.is_global_zero)
        self.log.drop_rows_after(self.step)

    @abstractmethod
    def advance(self, batch: Any) -> None:
        """Make one optimizer step."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the averaged weights as a file that the package loads."""

    @property
    def average(self) -> N:
        """The net with its weights averaged over the latest steps."""
        return self.averaged.module  # type: ignore[return-value]

    @property
    def weights(self) -> Path:
        """The file of the averaged weights."""
        return self.folder / WEIGHTS

    @property
    def scores_held_out(self) -> bool:
        """True for the process that scores the held-out rooms."""
        return self.fabric.is_global_zero and self.recipe.held > 0

    def is_complete(self) -> bool:
        """True when all steps are made; print so."""
        if self.step < self.recipe.steps:
            return False
        self.log.print_line(f"{self.folder} has made all {self.step} steps of this recipe; nothing is left to do.")
        return True

    def train(self, batches: Iterable[Any], scores: Callable[[N], Mapping[str, float]] | None, until: float) -> Path:
        """Train to the last step, or for `until` seconds, and return the file of weights.

        batches: from the present step on. scores: computes the scores on held-out rooms, None for no scores.
        Ctrl-C ends the run after the step: saved, then KeyboardInterrupt. The first process's clock decides for all.
        """
        end = time.monotonic() + until
        with defer_interrupts(once=True) as interrupts:
            for batch in batches:
                self.advance(batch)
                done = self.step == self.recipe.steps
                if scores and (done or self.step % self.recipe.score_every == 0):
                    self.log.log_scores(self.step, scores(self.average))
                over = self.fabric.broadcast(bool(interrupts) or time.monotonic() >= end)
                if done or over or self.step % self.recipe.save_every == 0:
                    self.save()
                if over:
                    break
        return self.weights

    def optimize(self, loss: Tensor, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
        """Take a step down the gradient of a loss () on a batch of shape (B, T), and log `parts`.

        A step is skipped where its gradient is not finite.
        """
        rate = self.recipe.compute_rate(self.step)
        self.fabric.backward(loss)
        norm = clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)  # Fabric's clipping covers one optimizer
        finite = bool(norm.isfinite())
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            if finite:
                optimizer.step()
            optimizer.zero_grad()
        self.averaged.update_parameters(self._bare_net)
        self.step += 1
        self.log.log_step(self.step, shape, rate, {**parts, "norm": norm}, _EVERY, not finite)

    def save(self) -> None:
        """Save the checkpoint, the averaged weights and the recipe."""
        if self.fabric.is_global_zero:
            states = {name: part.state_dict() for name, part in self._collect_parts().items()}
            write_last(self.folder / LAST, self.recipe, self.step, **states)
            self.write(self.weights)
            with write_atomically(self.folder / RECIPE) as part:
                part.write_text(yaml.safe_dump(asdict(self.recipe), sort_keys=False), encoding="utf-8")
        self.fabric.barrier()

    def _restore(self) -> int:
        """Restore all parts from the folder's checkpoint and return its step; 0 without one."""
        parts = self._collect_parts()
        last = read_last(self.folder / LAST, self.recipe, *parts)
        if last is None:
            return 0
        try:
            for name, part in parts.items():
                part.load_state_dict(last[name])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{self.folder / LAST} must hold this recipe's {name}, got another ({' '.join(str(error).split())[:200]}); "
                "remove it to begin again."
            ) from error
        return int(last["step"])

    def _collect_parts(self) -> dict[str, Any]:
        """The parts of a checkpoint by name."""
        numbered = {f"optimizer_{n}": optimizer for n, optimizer in enumerate(self.optimizers)}
        return {"net": self.net, "average": self.averaged, **numbered}
