"""What CUT3R remembers between frames, and the two rules by which its state tokens change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.net.attention import LogitMeter, NoHook


@dataclass(frozen=True)
class State:
    """tokens (B, S, C) float32, the scene; memory (B, M, 2C) float32, from which the next pose token is read;
    fresh (B,) bool: no frame has gone in yet, so the learned pose token is taken.
    """

    tokens: Tensor
    memory: Tensor
    fresh: Tensor

    def where(self, mask: Tensor, other: State) -> State:
        """This state's rows where mask (B,) bool is true, the other's elsewhere; nothing mixes, not even NaN."""
        rows = mask[:, None, None]
        return State(
            torch.where(rows, self.tokens, other.tokens),
            torch.where(rows, self.memory, other.memory),
            torch.where(mask, self.fresh, other.fresh),
        )


class StateUpdate(Protocol):
    """The state's tokens and the decoder's candidate (B, S, C) -> the next ones; `watch` sees the state's attention."""

    def make_hook(self) -> Any: ...

    def __call__(self, old: State, candidate: Tensor, hook: Any) -> Tensor: ...


class Overwrite:
    """The decoder's candidate becomes the state, as CUT3R publishes it."""

    def make_hook(self) -> NoHook:
        return NoHook()

    def __call__(self, old: State, candidate: Tensor, hook: NoHook) -> Tensor:
        return candidate


class Gated:
    """Each state token goes towards its candidate as far as it looked at the image (TTT3R; docs/cut3r_facts.md, 11).

    The share is the sigmoid of its mean attention logit over layers, heads and all keys. A first frame goes all the way.
    """

    def make_hook(self) -> LogitMeter:
        return LogitMeter()

    def __call__(self, old: State, candidate: Tensor, meter: LogitMeter) -> Tensor:
        share = torch.where(old.fresh[:, None], 1.0, torch.sigmoid(meter.compute_mean()))[..., None]
        return torch.where(old.fresh[:, None, None], candidate, old.tokens + share * (candidate - old.tokens))


UPDATES: dict[str, type[StateUpdate]] = {"cut3r": Overwrite, "ttt3r": Gated}
