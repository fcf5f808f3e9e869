"""The optimizers of a training: AdamW for all, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from moonseg3r_core.errors import MissingDependency

_BETAS = (0.9, 0.95)
_TOKENS = ("register_tokens.weight", "pose_token", "masked_token", "pose_retriever.mem")
Group = dict[str, Any]


def adamw(net: nn.Module, rate: float, decay: float, betas: tuple[float, float] = _BETAS) -> list[Optimizer]:
    """AdamW for all parameters."""
    return [_adamw(groups(net, decay), rate, betas)]


def muon(net: nn.Module, rate: float, decay: float) -> list[Optimizer]:
    """Muon for matrices, AdamW for kernels and for what does not decay.

    Muon (Jordan et al., 2024) makes the singular values of a matrix's step equal; it is scaled to AdamW's mean square, so
    that one rate suits both. Raises MissingDependency where torch does not have it.
    """
    if not hasattr(torch.optim, "Muon"):
        raise MissingDependency(f"optimizer: muon needs torch 2.9 or newer, got {torch.__version__}; say adamw.")
    weights, rest = groups(net, decay)
    matrices, kernels = (
        weights | {"params": [p for p in weights["params"] if (p.dim() == 2) == flat]} for flat in (True, False)
    )
    first = torch.optim.Muon([matrices], lr=rate, adjust_lr_fn="match_rms_adamw")
    return [first, _adamw((kernels, rest), rate, _BETAS)]


OPTIMIZERS = {"adamw": adamw, "muon": muon}


def groups(net: nn.Module, decay: float) -> tuple[Group, Group]:
    """The parameters that decay, matrices and kernels, and those that do not: biases, norms and tokens."""
    named = list(net.named_parameters())
    weights = [p for name, p in named if p.dim() > 1 and not name.endswith(_TOKENS)]
    rest = [p for name, p in named if p.dim() <= 1 or name.endswith(_TOKENS)]
    return {"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}


def _adamw(groups: tuple[Group, ...], rate: float, betas: tuple[float, float]) -> Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)
