"""Scores on rooms that are never trained on, along walks as the demo takes them: how far a training has come."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.model import Cut3r, Outputs
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.training.recipe import Recipe
from moonseg3r_core.training.unroll import unrolled

FIRST = 500_000  # the seeds of held-out rooms of trainings; tests and the demo take lower ones


class HeldOut:
    """Walks of `held_frames` frames through `held` rooms, kept in memory."""

    def __init__(self, recipe: Recipe) -> None:
        size = recipe.held_frames, recipe.height, recipe.width
        self._rooms = [_room(FIRST + number, *size) for number in range(recipe.held)]

    @torch.no_grad()
    def scores(self, net: Cut3r, device: torch.device) -> dict[str, float]:
        """Means over rooms: abs-rel and delta < 1.25 of depth after one scale a walk, and the error of positions after
        a similarity in percent of the path (ATE RMSE); the same of the best constant depth and of standing still.
        """
        net = net.eval()
        rows = [_scores(unrolled(net, views.to(device)[None]), depth, poses) for views, depth, poses in self._rooms]
        return {name: float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else ())}


def _room(seed: int, frames: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views (T, 3, H, W) in [-1, 1], depth (T, H, W), poses (T, 4, 4) of the first frames of a walk."""
    walked = SyntheticSequence(seed, 160, height, width)
    drawn = [walked[index] for index in range(min(frames, len(walked)))]
    views = torch.stack([frame.image for frame in drawn]).permute(0, 3, 1, 2).float() / 127.5 - 1
    depth = torch.stack([frame.depth for frame in drawn if frame.depth is not None])
    return views, depth, torch.stack([walked.poses[index] for index in range(len(drawn))])


def _scores(outputs: Outputs, depth: Tensor, poses: Tensor) -> dict[str, float]:
    predicted = outputs.self_points[..., 2].cpu().clamp(min=1e-3)
    scaled = predicted * (depth / predicted).median()
    share = (scaled - depth).abs() / depth
    ratio = torch.maximum(scaled / depth, depth / scaled)
    truth = poses[:, :3, 3].double().numpy()
    path = np.linalg.norm(np.diff(truth, axis=0), axis=-1).sum()
    error, still = ate(outputs.pose[:, :3].cpu().double().numpy(), truth), ate(np.zeros_like(truth), truth)
    return {
        "abs_rel": float(share.mean()),
        "delta": float((ratio < 1.25).float().mean()),
        "constant_abs_rel": float(((depth.median() - depth).abs() / depth).mean()),
        "ate_percent": 100 * error / path,
        "still_percent": 100 * still / path,
        "confidence": float(outputs.self_confidence.median()),
    }


def ate(positions: np.ndarray, truth: np.ndarray) -> float:
    """RMSE (metres) of positions (T, 3) against truth after the best similarity (Umeyama, 1991)."""
    a, b = positions - positions.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * np.diag(sign)).sum() / max(np.square(a).sum(), 1e-12)
    return float(np.sqrt(np.square(b - scale * a @ (u @ sign @ vt).T).sum(-1).mean()))
