"""The state of CUT3R between frames, and the rules that update its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from moonseg3r_core.reconstruction.cut3r.net.attention import LogitMeter, NoHook

DAMPING = 0.4  # published factors lie between 0.33 and 0.5


@dataclass(frozen=True)
class State:
    """The state of B streams.

    tokens (B, S, C) float32: the scene; memory (B, M, 2C) float32: predicts the next pose token; fresh (B,) bool:
    before the first frame, whose pose token is the learned one; change (B, S, C): candidates less tokens of the frame
    before, zeros before the first, or None where the rule makes no use of it.
    """

    tokens: Tensor
    memory: Tensor
    fresh: Tensor
    change: Tensor | None = None

    def select(self, mask: Tensor, other: State) -> State:
        """Select this state's rows where mask (B,) bool is true, the other's elsewhere; NaN does not spread."""
        rows = mask[:, None, None]
        return State(
            torch.where(rows, self.tokens, other.tokens),
            torch.where(rows, self.memory, other.memory),
            torch.where(mask, self.fresh, other.fresh),
            None if self.change is None or other.change is None else torch.where(rows, self.change, other.change),
        )

    def list_tensors(self) -> dict[str, Tensor]:
        """List the tensors by the names of their fields, without those that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}


class StateUpdate(Protocol):
    """The state and the decoder's candidate (B, S, C) -> the next tokens and the next `State.change`.

    The hook records the state's attention.
    """

    def make_hook(self) -> Any: ...

    def start_change(self, tokens: Tensor) -> Tensor | None:
        """`State.change` before the first frame, of start tokens (B, S, C)."""

    def __call__(self, old: State, candidate: Tensor, hook: Any) -> tuple[Tensor, Tensor | None]: ...


class Overwrite:
    """The candidate replaces the state's tokens, as CUT3R publishes it."""

    def make_hook(self) -> NoHook:
        return NoHook()

    def start_change(self, tokens: Tensor) -> None:
        return None

    def __call__(self, old: State, candidate: Tensor, hook: NoHook) -> tuple[Tensor, None]:
        return candidate, None


class Gated:
    """Each state token moves towards its candidate by a gate (TTT3R; docs/cut3r_facts.md, 11).

    The gate is the sigmoid of the token's mean attention logit over layers, heads and keys; 1 for a first frame.
    """

    def make_hook(self) -> LogitMeter:
        return LogitMeter()

    def start_change(self, tokens: Tensor) -> Tensor | None:
        return None

    def __call__(self, old: State, candidate: Tensor, hook: LogitMeter) -> tuple[Tensor, Tensor | None]:
        change = candidate - old.tokens
        gate = torch.sigmoid(hook.compute_mean())[..., None] * self.compute_factor(old, change)
        moved = torch.where(old.fresh[:, None, None], candidate, old.tokens + gate * change)
        return moved, None if old.change is None else change

    def compute_factor(self, old: State, change: Tensor) -> Tensor | float:
        """Compute what the gate is multiplied by, one number or (B, S, 1), for a full change (B, S, C)."""
        return 1.0


class Damped(Gated):
    """TTT3R's gate times a constant, for long sequences (docs/cut3r_facts.md, 12)."""

    def compute_factor(self, old: State, change: Tensor) -> float:
        return DAMPING


class Braked(Gated):
    """TTT3R's gate times sigmoid(-cos) of a token's change and the one before (docs/cut3r_facts.md, 12).

    A token that keeps going one way is held back most.
    """

    def start_change(self, tokens: Tensor) -> Tensor:
        return torch.zeros_like(tokens)

    def compute_factor(self, old: State, change: Tensor) -> Tensor:
        assert old.change is not None, "a state of this rule starts with one"
        return torch.sigmoid(-cosine_similarity(change, old.change, dim=-1))[..., None]


UPDATES: dict[str, type[StateUpdate]] = {"cut3r": Overwrite, "ttt3r": Gated, "damped": Damped, "brake": Braked}
