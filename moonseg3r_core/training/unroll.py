"""A net along a clip: one frame after the other through the state, then all of them through the heads at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.model import Cut3r, Decoded, Outputs, Tokens
from moonseg3r_core.training.losses import Truth, confident_distance, pose_distance

WEIGHTS = {"self": 1.0, "world": 1.0, "translation": 1.0, "rotation": 2.0}


class Unrolled(nn.Module):
    """Views (B, T, 3, H, W) and what they show (see `losses.Truth.of`) -> losses by name; `total`: their weighted sum."""

    def __init__(self, net: Cut3r) -> None:
        super().__init__()
        self.net = net

    def forward(self, views: Tensor, depth: Tensor, intrinsics: Tensor, poses: Tensor) -> dict[str, Tensor]:
        truth, outputs = Truth.of(depth, intrinsics, poses), unrolled(self.net, views)
        folded = {name: _folded(getattr(outputs, name), views.shape[1]) for name in _READ}
        parts = {
            "self": confident_distance(
                folded["self_points"], folded["self_confidence"], truth.self_points, truth.valid, truth.length
            ),
            "world": confident_distance(
                folded["world_points"], folded["world_confidence"], truth.world_points, truth.valid, truth.length
            ),
        }
        parts["translation"], parts["rotation"] = pose_distance(folded["pose"], truth.poses, truth.length)
        return parts | {"total": torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()}


_READ = ("self_points", "self_confidence", "world_points", "world_confidence", "pose")


def unrolled(net: Cut3r, views: Tensor) -> Outputs:
    """What the net says of views (B, T, 3, H, W), frame by frame: outputs of T * B rows, the first frame's B first."""
    state, decoded = net.start(len(views)), []
    for view in views.unbind(1):
        seen, state = net.advance(net.encode(view), state)
        decoded.append(seen)
    tokens = Tokens(torch.cat([d.tokens.features for d in decoded]), decoded[0].tokens.grid)
    early, middle = (torch.cat([d.layers[i] for d in decoded]) for i in (0, 1))
    return net.read_out(Decoded(tokens, (early, middle), torch.cat([d.last for d in decoded])))


def _folded(rows: Tensor, frames: int) -> Tensor:
    """(T * B, ...) -> (B, T, ...)."""
    return rows.unflatten(0, (frames, -1)).transpose(0, 1)
