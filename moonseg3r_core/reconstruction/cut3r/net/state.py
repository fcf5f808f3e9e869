"""The state of CUT3R between frames, and the two rules that update its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.net.attention import LogitMeter, NoHook


@dataclass(frozen=True)
class State:
    """The state of B streams.

    tokens (B, S, C) float32: the scene; memory (B, M, 2C) float32: predicts the next pose token; fresh (B,) bool:
    before the first frame, whose pose token is the learned one.
    """

    tokens: Tensor
    memory: Tensor
    fresh: Tensor

    def select(self, mask: Tensor, other: State) -> State:
        """Select this state's rows where mask (B,) bool is true, the other's elsewhere; NaN does not spread."""
        rows = mask[:, None, None]
        return State(
            torch.where(rows, self.tokens, other.tokens),
            torch.where(rows, self.memory, other.memory),
            torch.where(mask, self.fresh, other.fresh),
        )


class StateUpdate(Protocol):
    """The state and the decoder's candidate (B, S, C) -> the next tokens. The hook records the state's attention."""

    def make_hook(self) -> Any: ...

    def __call__(self, old: State, candidate: Tensor, hook: Any) -> Tensor: ...


class Overwrite:
    """The candidate replaces the state's tokens, as CUT3R publishes it."""

    def make_hook(self) -> NoHook:
        return NoHook()

    def __call__(self, old: State, candidate: Tensor, hook: NoHook) -> Tensor:
        return candidate


class Gated:
    """Each state token moves towards its candidate by a gate (TTT3R; docs/cut3r_facts.md, 11).

    The gate is the sigmoid of the token's mean attention logit over layers, heads and keys; 1 for a first frame.
    """

    def make_hook(self) -> LogitMeter:
        return LogitMeter()

    def __call__(self, old: State, candidate: Tensor, hook: LogitMeter) -> Tensor:
        gate = torch.where(old.fresh[:, None], 1.0, torch.sigmoid(hook.compute_mean()))[..., None]
        return torch.where(old.fresh[:, None, None], candidate, old.tokens + gate * (candidate - old.tokens))


UPDATES: dict[str, type[StateUpdate]] = {"cut3r": Overwrite, "ttt3r": Gated}
