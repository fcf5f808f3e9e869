"""Checks of the net's outputs, with a reason in words, so that unusable ones do not reach the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.net.heads import make_pose_matrix
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.net.state import State

_MAX_DISTANCE = 1e6  # units
_MIN_SHARE = 0.01  # of the pixels with a confident point


@dataclass(frozen=True)
class OutputCheck:
    """What decisions need of a frame's outputs: pose (4, 4) float64 in the net's world; depth, the median of confident
    pixels in the net's units; fault, why the outputs are unusable, or empty.
    """

    pose: Tensor
    depth: float
    fault: str


def check_outputs(outputs: Outputs, state: State, min_confidence: float) -> OutputCheck:
    """Check a frame's outputs and the next state. All numbers come from the device in one transfer."""
    self_mask = find_confident(outputs.self_points[0], outputs.self_confidence[0], min_confidence)
    world_mask = self_mask
    if outputs.world_points is not None and outputs.world_confidence is not None:
        world_mask = find_confident(outputs.world_points[0], outputs.world_confidence[0], min_confidence)
    numbers = (
        torch.minimum(self_mask.float().mean(), world_mask.float().mean()),
        compute_median_depth(outputs.self_points[0], self_mask),
        (state.tokens.isfinite().all() & state.memory.isfinite().all()).float(),
    )
    values = torch.cat((outputs.pose[0].float(), torch.stack(numbers))).cpu()
    pose, (share, depth, finite) = values[:7], values[7:].tolist()
    fault = _find_fault(pose, share, bool(finite), min_confidence)
    return OutputCheck(torch.eye(4, dtype=torch.float64) if fault else make_pose_matrix(pose), depth, fault)


def find_confident(points: Tensor, confidence: Tensor, min_confidence: float) -> Tensor:
    """Find points (H, W, 3) that are finite, within reach, and of enough confidence (H, W): (H, W) bool."""
    return (points.abs() < _MAX_DISTANCE).all(-1) & (confidence >= min_confidence) & confidence.isfinite()


def compute_median_depth(points: Tensor, mask: Tensor) -> Tensor:
    """Compute the median |z| () of masked points (H, W, 3); NaN without any."""
    return torch.where(mask, points[..., 2].abs(), torch.nan).nanmedian()


def _find_fault(pose: Tensor, share: float, finite: bool, min_confidence: float) -> str:
    if not bool((pose[:3].abs() < _MAX_DISTANCE).all() & (pose[3:].norm() > 1e-3) & pose[3:].isfinite().all()):
        return "the net gave no usable pose"
    if not finite:
        return "the net's next state is not finite"
    if share < _MIN_SHARE:
        return f"less than {_MIN_SHARE:.0%} of the points reach a confidence of {min_confidence:g}"
    return ""
