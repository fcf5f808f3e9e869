"""A training on its way, whatever the net: step after step, scored, and saved so that it goes on exactly."""

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

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.runtime.interrupt import defer_interrupts
from moonseg3r_core.training.common.checkpoint import read_last, write_last
from moonseg3r_core.training.common.log import Journal
from moonseg3r_core.training.common.recipe import BaseRecipe
from moonseg3r_core.training.common.yaml_facts import plain

LAST, WEIGHTS, RECIPE = "last.ckpt", "weights.safetensors", "recipe.yaml"
_EVERY = 50  # steps from one line of the journal to the next

N = TypeVar("N", bound=nn.Module)


class Run(ABC, Generic[N]):
    """What changes while a net is trained: the net, its mean over steps, the optimizers, the step; and its folder.

    A training says what a step is (`advance`, which ends in `learn`) and how its weights are written (`write`).
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
        """Where the folder's checkpoint stands, or before the first step. learner: what is called in place of the net,
        and calls it. Raises InputError for a checkpoint that is damaged or of another recipe, OutputError for the folder.
        """
        self.fabric, self.recipe, self.folder, self._kept = fabric, recipe, folder, net
        _make(folder)
        self.averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)).to(fabric.device)
        self.net, *self.optimizers = fabric.setup(net if learner is None else learner, *optimizers)
        self.step = self._resume()
        self.journal = Journal(folder, fabric.is_global_zero)
        self.journal.resumed(self.step)

    @abstractmethod
    def advance(self, batch: Any) -> None:
        """One optimizer step."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """The mean weights as the file that the package takes."""

    @property
    def average(self) -> N:
        """The net with the mean of its weights over the latest steps."""
        return self.averaged.module  # type: ignore[return-value]

    @property
    def weights(self) -> Path:
        """The file of the mean weights."""
        return self.folder / WEIGHTS

    @property
    def keeps_score(self) -> bool:
        """Whether this process is to score what is held out."""
        return self.fabric.is_global_zero and self.recipe.held > 0

    def finished(self) -> bool:
        """Whether all steps are made, which is then said."""
        if self.step < self.recipe.steps:
            return False
        self.journal.say(f"{self.folder} has made all {self.step} steps of this recipe; nothing is left to do.")
        return True

    def train(self, batches: Iterable[Any], scores: Callable[[N], Mapping[str, float]] | None, until: float) -> Path:
        """Advance to the last step, or until `until` seconds have gone, and give the file of weights.

        batches: from the step on that the run stands at. scores: of the held-out rooms, None where none are scored.
        A Ctrl-C is answered after the step: saved, then KeyboardInterrupt. The first process's clock is that of all.
        """
        end = time.monotonic() + until
        with defer_interrupts(once=True) as interrupts:
            for batch in batches:
                self.advance(batch)
                done = self.step == self.recipe.steps
                if scores and (done or self.step % self.recipe.score_every == 0):
                    self.journal.scored(self.step, scores(self.average))
                over = self.fabric.broadcast(bool(interrupts) or time.monotonic() >= end)
                if done or over or self.step % self.recipe.save_every == 0:
                    self.save()
                if over:
                    break
        return self.weights

    def learn(self, loss: Tensor, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
        """A step down the gradient of a loss () on a batch of shape (B, T), and `parts` into the journal; one whose
        gradients are not finite is skipped.
        """
        rate = self.recipe.learning_rate(self.step)
        self.fabric.backward(loss)
        norm = clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)  # Fabric's own sees one optimizer's
        finite = bool(norm.isfinite())
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            if finite:
                optimizer.step()
            optimizer.zero_grad()
        self.averaged.update_parameters(self._kept)
        self.step += 1
        self.journal.learned(self.step, shape, rate, {**parts, "norm": norm}, _EVERY, not finite)

    def save(self) -> None:
        """The checkpoint, the mean weights and the recipe."""
        if self.fabric.is_global_zero:
            states = {name: part.state_dict() for name, part in self._parts().items()}
            write_last(self.folder / LAST, self.recipe, self.step, **states)
            self.write(self.weights)
            facts = plain(asdict(self.recipe))
            with write_atomically(self.folder / RECIPE) as part:
                part.write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
        self.fabric.barrier()

    def _resume(self) -> int:
        """The step of the folder's checkpoint, all parts as it has them; 0 without one."""
        parts = self._parts()
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

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        numbered = {f"optimizer_{n}": optimizer for n, optimizer in enumerate(self.optimizers)}
        return {"net": self.net, "average": self.averaged, **numbered}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the folder {folder}: {error.strerror}; name another one with -o.") from error
