"""A net along a clip: one frame after the other through the state, then all of them through the heads at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, DecodedView, Outputs, Tokens
from moonseg3r_core.training.reconstruction.losses import Truth, compute_point_loss, compute_pose_loss

# A pose is a few numbers whose errors are small: with less weight the points drown them, and no pose is learned.
LOSS_WEIGHTS = {"self": 1.0, "world": 1.0, "translation": 5.0, "rotation": 10.0}


class UnrolledNet(nn.Module):
    """Views (B, T, 3, H, W) -> what the net says of them by name, float32: points (B, T, H, W, 3) and confidences
    (B, T, H, W) in both frames, `pose` (B, T, 7).

    The truth does not go in: an engine of mixed precision rounds all that does.
    """

    def __init__(self, net: Cut3r) -> None:
        super().__init__()
        self.net = net

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        outputs = unroll(self.net, views)
        return {name: _split_frames(getattr(outputs, name), views.shape[1]) for name in _READ}


def compute_losses(said: Mapping[str, Tensor], truth: Truth) -> dict[str, Tensor]:
    """Losses () by name of what `UnrolledNet` said; `total`: their weighted sum."""
    parts = {
        frame: compute_point_loss(
            said[f"{frame}_points"], said[f"{frame}_confidence"], points, truth.valid, truth.length
        )
        for frame, points in (("self", truth.self_points), ("world", truth.world_points))
    }
    parts["translation"], parts["rotation"] = compute_pose_loss(said["pose"], truth.poses, truth.length)
    return parts | {"total": torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum()}


_READ = ("self_points", "self_confidence", "world_points", "world_confidence", "pose")


def unroll(net: Cut3r, views: Tensor) -> Outputs:
    """What the net says of views (B, T, 3, H, W), frame by frame: outputs of T * B rows, the first frame's B first."""
    state, decoded = net.start(len(views)), []
    tokens = net.encode(views.transpose(0, 1).flatten(0, 1))
    for features in tokens.features.split(len(views)):
        seen, state = net.advance(Tokens(features, tokens.grid), state)
        decoded.append(seen)
    early, middle = (torch.cat([d.layers[i] for d in decoded]) for i in (0, 1))
    return net.read_out(DecodedView(tokens, (early, middle), torch.cat([d.last for d in decoded])))


def _split_frames(rows: Tensor, frames: int) -> Tensor:
    """(T * B, ...) -> (B, T, ...)."""
    return rows.unflatten(0, (frames, -1)).transpose(0, 1)
