"""Scores of a reconstruction net on walks through held-out rooms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.evaluation.metrics.reconstruction import (
    align_poses,
    compute_abs_rel,
    compute_ate,
    compute_delta,
    compute_depth_scale,
    compute_path_length,
    fit_constant_depth,
)
from moonseg3r_core.reconstruction.cut3r.net.heads import make_pose_matrix
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, Outputs
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED
from moonseg3r_core.training.reconstruction.recipe import ReconstructionRecipe
from moonseg3r_core.training.reconstruction.unroll import unroll

_LAP = 160  # frames of a walk, of which the first are used


class HeldOut:
    """Walks of `held_frames` frames through `held` rooms, kept in memory."""

    def __init__(self, recipe: ReconstructionRecipe) -> None:
        size = recipe.held_frames, recipe.height, recipe.width
        self._rooms = [_render_walk(FIRST_HELD_OUT_SEED + number, *size) for number in range(recipe.held)]

    @torch.no_grad()
    def compute_scores(self, net: Cut3r) -> dict[str, float]:
        """Compute the means over rooms of `compute_walk_scores`."""
        net, device = net.eval(), next(net.parameters()).device
        rows = [compute_walk_scores(unroll(net, views.to(device)[None]), *truth) for views, *truth in self._rooms]
        return {name: float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else ())}


def compute_walk_scores(outputs: Outputs, depth: Tensor, poses: Tensor) -> dict[str, float]:
    """Compute the scores of a net's outputs on one walk with depth (T, H, W) metres and poses (T, 4, 4).

    abs_rel, delta: abs-rel and delta < 1.25 of depth after one scale a walk; ate_percent: ATE RMSE after a similarity,
    in percent of the path; constant_abs_rel and still_percent: baselines of a constant depth and a camera that stands
    still; confidence: median.
    """
    predicted, true = outputs.self_points[..., 2].cpu().numpy().ravel(), depth.numpy().ravel()
    scaled = compute_depth_scale(predicted, true) * predicted
    estimated, poses = torch.stack([make_pose_matrix(pose) for pose in outputs.pose.cpu()]), poses.double()
    path = compute_path_length(poses)
    return {
        "abs_rel": compute_abs_rel(scaled, true),
        "delta": compute_delta(scaled, true),
        "constant_abs_rel": compute_abs_rel(np.full_like(true, fit_constant_depth(true)), true),
        "ate_percent": 100 * compute_ate(align_poses(estimated, poses), poses) / path,
        "still_percent": 100 * compute_ate(align_poses(poses[:1].expand_as(poses), poses), poses) / path,
        "confidence": float(outputs.self_confidence.median()),
    }


def _render_walk(seed: int, frames: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Render views (T, 3, H, W) in [-1, 1], depth (T, H, W) and poses (T, 4, 4) of the first frames of a walk."""
    walked = SyntheticSequence(seed, _LAP, height, width)
    drawn = [walked[index] for index in range(min(frames, len(walked)))]
    views = torch.stack([frame.image for frame in drawn]).permute(0, 3, 1, 2).float() / 127.5 - 1
    depth = torch.stack([frame.depth for frame in drawn if frame.depth is not None])
    return views, depth, torch.stack([walked.poses[index] for index in range(len(drawn))])
