"""Losses of the multi-view depth net."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.reconstruction.multi_view.net import Prediction

_SCALES = (1, 2, 4)  # pixels at 1/2 apart, over which gradients are compared
_ONE_SURFACE = math.log(1.05)  # a cell whose depth spreads more lies on an edge: its nearest pixel counts alone


def shrink_truth(depth: Tensor, factor: int) -> Tensor:
    """Shrink depth (B, H, W), 0 = unknown, to its log (B, H / factor, W / factor); NaN where it is unknown."""
    log = torch.where(depth > 0, depth.clamp(min=1e-4).log(), math.nan)
    cells = F.pixel_unshuffle(log[:, None], factor)
    low, high = cells.nan_to_num(math.inf).amin(1), cells.nan_to_num(-math.inf).amax(1)
    middle = cells[:, (factor // 2) * factor + factor // 2]
    return torch.where(high - low < _ONE_SURFACE, cells.nanmean(1), middle)


def compute_losses(found: Prediction, depth: Tensor, log_planes: Tensor) -> dict[str, Tensor]:
    """Compute the parts of the loss and their sum `total`. depth (B, H, W) in the typical depth, 0 = unknown."""
    half, quarter = shrink_truth(depth, 2), shrink_truth(depth, 4)
    error = (found.log_depth - half).abs()
    known = half.isfinite() & (half > log_planes[0] - 0.3) & (half < log_planes[-1] + 0.3)
    spread = found.log_spread
    parts = {
        "planes": _compute_plane_loss(found.logits, quarter, log_planes),
        "depth": error[known].clamp(max=1.0).mean(),
        "edges": _compute_gradient_loss(found.log_depth, half, known),
        "choice": _compute_choice_loss(found, half, known),
        "spread": (error.detach()[known] / spread[known].exp() + spread[known]).mean(),
    }
    parts["total"] = (
        parts["planes"] + 4 * parts["depth"] + 2 * parts["edges"] + 2 * parts["choice"] + 0.2 * parts["spread"]
    )
    return parts


def _compute_plane_loss(logits: Tensor, log_depth: Tensor, log_planes: Tensor) -> Tensor:
    """Compute the cross entropy with the two planes around the true depth."""
    step = (log_planes[-1] - log_planes[0]) / (len(log_planes) - 1)
    place = ((log_depth - log_planes[0]) / step).clamp(0, len(log_planes) - 1)
    known = place.isfinite()
    low = place.nan_to_num(0.0).floor().long().clamp(max=len(log_planes) - 2)
    share = (place - low).nan_to_num(0.0)
    logs = logits.log_softmax(1)
    near, far = (logs.gather(1, (low + offset)[:, None])[:, 0] for offset in (0, 1))
    return -((1 - share) * near + share * far)[known].mean()


def _compute_choice_loss(found: Prediction, log_depth: Tensor, known: Tensor) -> Tensor:
    """Compute the mean error of the log depths that were tried, by their shares: a mean of two surfaces is none."""
    errors = (found.tried - log_depth[:, None]).abs().clamp(max=1.0)
    return (found.shares * errors).sum(1)[known].mean()


def _compute_gradient_loss(found: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Compute the mean difference of log-depth steps over several distances, right and down."""
    error = torch.where(known, found - true, math.nan)
    parts = []
    for apart in _SCALES:
        for axis in (1, 2):
            step = error.narrow(axis, apart, error.shape[axis] - apart) - error.narrow(
                axis, 0, error.shape[axis] - apart
            )
            parts.append(step[step.isfinite()].abs().clamp(max=1.0).mean())
    return torch.stack(parts).mean()
