"""AdamW and its groups of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Group = dict[str, Any]


def make_adamw(groups: Sequence[Group], rate: float, betas: tuple[float, float]) -> Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def split_parameters(net: nn.Module, decay: float, tokens: tuple[str, ...] = ()) -> tuple[Group, Group]:
    """Split parameters into those that decay (matrices, kernels) and the others (biases, norms, tokens).

    tokens: ends of the names of matrices that do not decay.
    """
    named = list(net.named_parameters())
    weights = [p for name, p in named if p.dim() > 1 and not name.endswith(tokens)]
    rest = [p for name, p in named if p.dim() <= 1 or name.endswith(tokens)]
    return {"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}
