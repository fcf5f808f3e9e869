"""The net along a clip: frames pass the recurrent state in order, then the heads together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, DecodedView, Outputs, Tokens
from moonseg3r_core.training.reconstruction.losses import Truth, compute_point_loss, compute_pose_loss

# The errors of a pose are few and small: with less weight the losses of points outweigh them.
LOSS_WEIGHTS = {"self": 1.0, "world": 1.0, "translation": 5.0, "rotation": 10.0}


class UnrolledNet(nn.Module):
    """Views (B, T, 3, H, W) -> outputs by name, float32: points (B, T, H, W, 3) and confidences (B, T, H, W) in both
    frames, `pose` (B, T, 7).

    The truth is no input: mixed precision rounds all inputs.
    """

    def __init__(self, net: Cut3r) -> None:
        super().__init__()
        self.net = net

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        outputs = unroll(self.net, views)
        return {name: _split_frames(getattr(outputs, name), views.shape[1]) for name in _OUTPUTS}


def compute_losses(outputs: Mapping[str, Tensor], truth: Truth) -> dict[str, Tensor]:
    """Compute the losses () of the outputs of `UnrolledNet` by name; `total`: their weighted sum."""
    parts = {
        frame: compute_point_loss(
            outputs[f"{frame}_points"], outputs[f"{frame}_confidence"], points, truth.valid, truth.length
        )
        for frame, points in (("self", truth.self_points), ("world", truth.world_points))
    }
    parts["translation"], parts["rotation"] = compute_pose_loss(outputs["pose"], truth.poses, truth.length)
    return parts | {"total": torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum()}


_OUTPUTS = ("self_points", "self_confidence", "world_points", "world_confidence", "pose")


def unroll(net: Cut3r, views: Tensor) -> Outputs:
    """Run the net on views (B, T, 3, H, W) frame by frame: outputs of T * B rows, the first frame's B first."""
    state, frames = net.start(len(views)), []
    tokens = net.encode(views.transpose(0, 1).flatten(0, 1))
    for features in tokens.features.split(len(views)):
        decoded, state = net.advance(Tokens(features, tokens.grid), state)
        frames.append(decoded)
    early, middle = (torch.cat([d.layers[i] for d in frames]) for i in (0, 1))
    return net.read_out(DecodedView(tokens, (early, middle), torch.cat([d.last for d in frames])))


def _split_frames(rows: Tensor, frames: int) -> Tensor:
    """Split rows (T * B, ...) into (B, T, ...)."""
    return rows.unflatten(0, (frames, -1)).transpose(0, 1)
