"""The optimizers of a training: AdamW for all, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from moonseg3r_core.errors import MissingDependency
from moonseg3r_core.training.recipe import Recipe

_BETAS = (0.9, 0.95)
_TOKENS = ("register_tokens.weight", "pose_token", "masked_token", "pose_retriever.mem")
Group = dict[str, Any]


def optimizers(net: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Those that a recipe names.

    Muon (Jordan et al., 2024) makes the singular values of a matrix's step equal; it is scaled to AdamW's mean square, so
    that one rate suits both. Raises MissingDependency where torch does not have it.
    """
    weights, rest = groups(net, recipe.decay)
    if recipe.optimizer == "adamw":
        return [_adamw([weights, rest], recipe.rate)]
    if not hasattr(torch.optim, "Muon"):
        raise MissingDependency(f"optimizer: muon needs torch 2.9 or newer, got {torch.__version__}; say adamw.")
    flat, kernels = (
        weights | {"params": [p for p in weights["params"] if (p.dim() == 2) == matrix]} for matrix in (True, False)
    )
    muon = torch.optim.Muon([flat], lr=recipe.rate, adjust_lr_fn="match_rms_adamw")
    return [muon, _adamw([kernels, rest], recipe.rate)]


def groups(net: nn.Module, decay: float) -> tuple[Group, Group]:
    """The parameters that decay, matrices and kernels, and those that do not: biases, norms and tokens."""
    named = list(net.named_parameters())
    weights = [p for name, p in named if p.dim() > 1 and not name.endswith(_TOKENS)]
    rest = [p for name, p in named if p.dim() <= 1 or name.endswith(_TOKENS)]
    return {"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}


def _adamw(groups: list[Group], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=_BETAS, fused=True)
