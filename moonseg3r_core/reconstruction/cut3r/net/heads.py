"""Heads: decoded tokens to pose, points, confidence and colors (docs/cut3r_facts.md, 8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pixel_shuffle

from moonseg3r_core.geometry import rotation_from_quaternion
from moonseg3r_core.reconstruction.cut3r.net.blocks import Mlp, ModulatedBlock, repeat_blocks
from moonseg3r_core.reconstruction.cut3r.net.dpt import DptAdapter
from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation
from moonseg3r_core.reconstruction.cut3r.net.sizes import MODULATED_BLOCKS, PATCH, Cut3rSizes

TINY = 1e-8
POINTS, COLORS = 4, 3  # channels: a point with its confidence; red, green, blue
Layers = Sequence[Tensor]  # encoder tokens, two of the decoder's layers, and its normed last: each (B, N, C)
Grid = tuple[int, int]


class PoseHead(nn.Module):
    """The pose token as seven numbers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = Mlp(dim, 7)

    def forward(self, token: Tensor) -> Tensor:
        return self.mlp(token)


class Head(nn.Module, ABC):
    """The common part of both heads: the pose, and the modulation of image tokens by it."""

    def __init__(self, sizes: Cut3rSizes) -> None:
        super().__init__()
        self.pose_head = PoseHead(sizes.dec_dim)
        self.final_transform = repeat_blocks(lambda: ModulatedBlock(sizes.dec_dim, sizes.dec_heads), MODULATED_BLOCKS)

    def predict_pose(self, token: Tensor) -> Tensor:
        """Pose token (B, 1, C) -> (B, 7), computed in float32 at any precision."""
        with torch.autocast(token.device.type, enabled=False):
            return activate_pose(self.pose_head(token.float())[:, 0])

    def modulate(self, tokens: Tensor, pose_token: Tensor, rope: Rotation) -> Tensor:
        """Modulate tokens by the pose token: F3d (B, N, C), the last block's output without a norm."""
        for block in self.final_transform:
            tokens = block(tokens, pose_token, rope)
        return tokens

    @abstractmethod
    def predict_raw(self, output: str, layers: Layers, grid: Grid) -> Tensor:
        """Predict the channels (B, H, W, C) float32 of an output: self, cross or rgb."""

    def predict_self_points(self, layers: Layers, grid: Grid) -> tuple[Tensor, Tensor]:
        """Predict points (B, H, W, 3) in camera axes, and confidence (B, H, W)."""
        raw = self.predict_raw("self", layers, grid)
        return activate_points(raw[..., :3]), activate_confidence(raw)

    def predict_world_points(self, layers: Layers, grid: Grid) -> tuple[Tensor, Tensor]:
        """Predict the same in the first frame's axes; the last layer is the modulated one."""
        raw = self.predict_raw("cross", layers, grid)
        return activate_points(raw[..., :3]), activate_confidence(raw)

    def predict_colors(self, layers: Layers, grid: Grid) -> Tensor:
        """Predict colors (B, H, W, 3) in (-1, 1). Raises RuntimeError without the rgb head."""
        return activate_colors(self.predict_raw("rgb", layers, grid))


class LinearHead(Head):
    """An MLP per token; its channels are the token's 16 x 16 pixels."""

    def __init__(self, sizes: Cut3rSizes, rgb: bool) -> None:
        super().__init__(sizes)
        self.proj = Mlp(sizes.dec_dim, POINTS * PATCH**2)
        self.cross_proj = Mlp(sizes.dec_dim, POINTS * PATCH**2)
        self.rgb_proj = Mlp(sizes.dec_dim, COLORS * PATCH**2) if rgb else None

    def predict_raw(self, output: str, layers: Layers, grid: Grid) -> Tensor:
        mlp = require_head({"self": self.proj, "cross": self.cross_proj, "rgb": self.rgb_proj}[output])
        return apply_mlp(mlp, layers, grid)

    def predict_self_points(self, layers: Layers, grid: Grid) -> tuple[Tensor, Tensor]:
        """Points with negative z are mirrored through the origin, so that the scene is in front of the camera."""
        raw = self.predict_raw("self", layers, grid)
        return activate_points(raw[..., :3] * raw[..., 2:3].sign()), activate_confidence(raw)


class DenseHead(Head):
    """A DPT adapter per output."""

    def __init__(self, sizes: Cut3rSizes, rgb: bool) -> None:
        super().__init__(sizes)
        self.dpt_self, self.dpt_cross = DptAdapter(sizes, POINTS), DptAdapter(sizes, POINTS)
        self.dpt_rgb = DptAdapter(sizes, COLORS) if rgb else None

    def predict_raw(self, output: str, layers: Layers, grid: Grid) -> Tensor:
        dpt = require_head({"self": self.dpt_self, "cross": self.dpt_cross, "rgb": self.dpt_rgb}[output])
        return move_channels_last(dpt(layers, grid))


HEADS: dict[str, type[LinearHead] | type[DenseHead]] = {"linear": LinearHead, "dpt": DenseHead}


def apply_mlp(mlp: nn.Module, layers: Layers, grid: Grid) -> Tensor:
    """Apply an MLP to the last layer's tokens: (B, H, W, channels) float32."""
    return move_channels_last(pixel_shuffle(mlp(layers[-1]).transpose(1, 2).unflatten(2, grid), PATCH))


def move_channels_last(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C) float32."""
    return maps.permute(0, 2, 3, 1).float()


def activate_points(raw: Tensor) -> Tensor:
    """Raw (..., 3) -> points in the same direction, at distance exp(|raw|) - 1."""
    length = raw.norm(dim=-1, keepdim=True)
    return raw / length.clamp(min=TINY) * torch.expm1(length)


def activate_confidence(raw: Tensor) -> Tensor:
    """Raw (..., 4) -> 1 + exp of the fourth channel, at least 1."""
    return 1 + raw[..., 3].exp()


def activate_colors(raw: Tensor) -> Tensor:
    """Raw (..., 3) -> colors in (-1, 1)."""
    return 2 * (raw.sigmoid() * (1 - 2e-6) + 1e-6) - 1


def activate_pose(raw: Tensor) -> Tensor:
    """Raw (B, 7) -> translation of length exp(|raw|) - 1, and unit quaternion w x y z with w >= 0."""
    quaternion = normalize(raw[:, 3:], dim=-1)
    return torch.cat((activate_points(raw[:, :3]), torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)), dim=-1)


def make_pose_matrix(pose: Tensor) -> Tensor:
    """Pose (7,) tx ty tz qw qx qy qz, camera to world, as a rigid (4, 4) float64 matrix."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation_from_quaternion(pose[[4, 5, 6, 3]].double())
    matrix[:3, 3] = pose[:3].double()
    return matrix


def require_head(head: nn.Module | None) -> nn.Module:
    """Return the head. Raises RuntimeError without one."""
    if head is None:
        raise RuntimeError("colors were asked of a net built without its rgb head; build Cut3r(rgb_head=True).")
    return head
