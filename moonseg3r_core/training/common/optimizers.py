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


def make_adamw(net: nn.Module, rate: float, decay: float, betas: tuple[float, float] = _BETAS) -> list[Optimizer]:
    """Make AdamW for all parameters."""
    return [_make_adamw(split_parameters(net, decay), rate, betas)]


def make_muon(net: nn.Module, rate: float, decay: float) -> list[Optimizer]:
    """Make Muon for matrices, and AdamW for kernels and for parameters without decay.

    Muon (Jordan et al., 2024) makes the singular values of a matrix's step equal. Its step is scaled to AdamW's mean
    square, so that one rate suits both. Raises MissingDependency where torch lacks it.
    """
    if not hasattr(torch.optim, "Muon"):
        raise MissingDependency(f"optimizer: muon needs torch 2.9 or newer, got {torch.__version__}; say adamw.")
    weights, rest = split_parameters(net, decay)
    matrices, kernels = (
        weights | {"params": [p for p in weights["params"] if (p.dim() == 2) == flat]} for flat in (True, False)
    )
    first = torch.optim.Muon([matrices], lr=rate, adjust_lr_fn="match_rms_adamw")
    return [first, _make_adamw((kernels, rest), rate, _BETAS)]


OPTIMIZERS = {"adamw": make_adamw, "muon": make_muon}


def split_parameters(net: nn.Module, decay: float) -> tuple[Group, Group]:
    """Split parameters into those that decay (matrices, kernels) and the others (biases, norms, tokens)."""
    named = list(net.named_parameters())
    weights = [p for name, p in named if p.dim() > 1 and not name.endswith(_TOKENS)]
    rest = [p for name, p in named if p.dim() <= 1 or name.endswith(_TOKENS)]
    return {"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}


def _make_adamw(groups: tuple[Group, ...], rate: float, betas: tuple[float, float]) -> Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)
