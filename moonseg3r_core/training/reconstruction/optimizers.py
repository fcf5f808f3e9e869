"""The optimizers of CUT3R's training: AdamW for all, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from moonseg3r_core.errors import MissingDependency
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.training.common.optimizers import make_adamw, split_parameters

_BETAS = (0.9, 0.95)
_TOKENS = ("register_tokens.weight", "pose_token", "masked_token", "pose_retriever.mem")


def make_adamw_alone(net: Cut3r, rate: float, decay: float) -> list[Optimizer]:
    """Make AdamW for all parameters."""
    return [make_adamw(split_parameters(net, decay, _TOKENS), rate, _BETAS)]


def make_muon(net: Cut3r, rate: float, decay: float) -> list[Optimizer]:
    """Make Muon for matrices, and AdamW for kernels and for parameters without decay.

    Muon (Jordan et al., 2024) makes the singular values of a matrix's step equal. Its step is scaled to AdamW's mean
    square, so that one rate suits both. Raises MissingDependency where torch lacks it.
    """
    if not hasattr(torch.optim, "Muon"):
        raise MissingDependency(f"optimizer: muon needs torch 2.9 or newer, got {torch.__version__}; say adamw.")
    weights, rest = split_parameters(net, decay, _TOKENS)
    matrices, kernels = (
        weights | {"params": [p for p in weights["params"] if (p.dim() == 2) == flat]} for flat in (True, False)
    )
    first = torch.optim.Muon([matrices], lr=rate, adjust_lr_fn="match_rms_adamw")
    return [first, make_adamw((kernels, rest), rate, _BETAS)]


OPTIMIZERS = {"adamw": make_adamw_alone, "muon": make_muon}
