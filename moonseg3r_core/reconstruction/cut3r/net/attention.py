"""Hooks that record the state branch's cross-attention: which image patches each state token attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from moonseg3r_core.reconstruction.cut3r.net.blocks import Attend


class AttentionHook(Protocol):
    """Wraps a layer's attention, or returns it unchanged."""

    def __call__(self, layer: int, attend: Attend) -> Attend: ...


class NoHook:
    """Records nothing."""

    def __call__(self, layer: int, attend: Attend) -> Attend:
        return attend


class LogitMeter:
    """Records the mean logit (B, S) of each state token over layers, heads and keys, as `q . mean(k)`."""

    def __init__(self) -> None:
        self._means: list[Tensor] = []

    def __call__(self, layer: int, attend: Attend) -> Attend:
        def measure_and_attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            logits = (q.float() * k.float().mean(2, keepdim=True)).sum(-1) * q.shape[-1] ** -0.5
            self._means.append(logits.mean(1))
            return attend(q, k, v)

        return measure_and_attend

    def compute_mean(self) -> Tensor:
        return torch.stack(self._means).mean(0)


@dataclass(frozen=True)
class StateAttention:
    """Selects the state branch's attention that A averages (paper section 3.5; docs/decisions.md, 11).

    layers: None for all, negative ones count from the end; head: None for the mean over heads.
    """

    layers: tuple[int, ...] | None = None
    head: int | None = None

    def make_recorder(self, depth: int, heads: int) -> AttentionRecorder:
        """Make a recorder for a decoder. Raises ValueError for a layer or head that it does not have."""
        chosen = range(depth) if self.layers is None else self.layers
        if not chosen or not all(-depth <= layer < depth for layer in chosen):
            found = tuple(chosen)
            raise ValueError(f"attention layers must lie in {-depth} to {depth - 1}, got {found}; choose others.")
        if self.head is not None and not 0 <= self.head < heads:
            raise ValueError(f"the attention head must lie in 0 to {heads - 1}, got {self.head}; choose another.")
        return AttentionRecorder({layer % depth for layer in chosen}, self.head)


class AttentionRecorder:
    """Sums softmax weights (B, S, 1 + N) of the selected layers and heads; key 0 is the pose token."""

    def __init__(self, layers: set[int], head: int | None) -> None:
        self._layers, self._head = layers, head
        self._total: Tensor | float = 0.0
        self._count = 0

    def __call__(self, layer: int, attend: Attend) -> Attend:
        return self._record if layer in self._layers else attend

    def _record(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute attention by its definition: at once on a GPU, head by head in the cache of a CPU."""
        q, heads = q * q.shape[-1] ** -0.5, range(q.shape[1])
        groups = [slice(None)] if q.is_cuda else [slice(head, head + 1) for head in heads]
        results = []
        for group in groups:
            weights = torch.softmax(q[:, group] @ k[:, group].transpose(-1, -2), dim=-1)
            results.append(weights.to(v.dtype) @ v[:, group])
            for row, head in enumerate(heads[group]):
                if self._head in (None, head):
                    self._total += weights[:, row].float()
                    self._count += 1
        return torch.cat(results, dim=1)

    def average_patches(self, h: int, w: int) -> Tensor:
        """Average the weights to A (B, S, h, w) without the pose token's column, so that a row sums to less than 1."""
        assert isinstance(self._total, Tensor), "attention is recorded while a decoder runs"
        return (self._total[:, :, 1:] / self._count).unflatten(2, (h, w))


def wrap_attention(layer: int, hooks: tuple[AttentionHook, ...]) -> Attend:
    """Wrap a layer's attention by all hooks."""
    attend: Attend = scaled_dot_product_attention
    for hook in hooks:
        attend = hook(layer, attend)
    return attend
