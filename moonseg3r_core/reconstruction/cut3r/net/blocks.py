"""The transformer blocks of CUT3R, all pre-norm. Tokens are (B, N, C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation
from moonseg3r_core.reconstruction.cut3r.net.sizes import EPS, MLP_RATIO

# Queries, keys, values (B, heads, N, width) -> (B, heads, N, width).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_norm(dim: int) -> nn.LayerNorm:
    """Make the layer norm of all blocks."""
    return nn.LayerNorm(dim, eps=EPS)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, out or dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """Self-attention; a rotation encodes positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rope: Rotation | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if rope is not None:
            q, k = rope(q), rope(k)
        return self.proj(join_heads(scaled_dot_product_attention(*(z.transpose(1, 2) for z in (q, k, v)))))


class CrossAttention(nn.Module):
    """Tokens x attend to tokens y; `attend` computes the attention, and may record it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq, self.projk, self.projv, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, y: Tensor, rope_x: Rotation | None, rope_y: Rotation | None, attend: Attend) -> Tensor:
        q, k, v = (z.unflatten(-1, (self.heads, -1)) for z in (self.projq(x), self.projk(y), self.projv(y)))
        q, k = q if rope_x is None else rope_x(q), k if rope_y is None else rope_y(k)
        return self.proj(join_heads(attend(*(z.transpose(1, 2) for z in (q, k, v)))))


class EncoderBlock(nn.Module):
    """Self-attention and an MLP."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = make_norm(dim), SelfAttention(dim, heads)
        self.norm2, self.mlp = make_norm(dim), Mlp(dim)

    def forward(self, x: Tensor, rope: Rotation) -> Tensor:
        x = x + self.attn(self.norm1(x), rope)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to y, and an MLP."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = make_norm(dim), SelfAttention(dim, heads)
        self.norm2, self.norm_y, self.cross_attn = make_norm(dim), make_norm(dim), CrossAttention(dim, heads)
        self.norm3, self.mlp = make_norm(dim), Mlp(dim)

    def forward(
        self, x: Tensor, y: Tensor, rope_x: Rotation | None = None, rope_y: Rotation | None = None,
        attend: Attend = scaled_dot_product_attention,
    ) -> Tensor:  # fmt: skip
        x = x + self.attn(self.norm1(x), rope_x)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), rope_x, rope_y, attend)
        return x + self.mlp(self.norm3(x))


class ModulatedNorm(nn.Module):
    """A layer norm whose shift and scale come from the pose token (B, 1, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = make_norm(dim)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, pose: Tensor) -> Tensor:
        shift, scale = self.mlp(pose).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class ModulatedBlock(nn.Module):
    """An encoder block modulated by the pose token: it carries image tokens to the world frame."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = ModulatedNorm(dim), SelfAttention(dim, heads)
        self.norm2, self.mlp = ModulatedNorm(dim), Mlp(dim)

    def forward(self, x: Tensor, pose: Tensor, rope: Rotation) -> Tensor:
        x = x + self.attn(self.norm1(x, pose), rope)
        return x + self.mlp(self.norm2(x, pose))


def join_heads(x: Tensor) -> Tensor:
    """Join heads: (B, heads, N, width) -> (B, N, heads * width)."""
    return x.transpose(1, 2).flatten(2)


def make_token(*shape: int) -> nn.Parameter:
    """Make a learned token, initialized with small numbers."""
    return nn.Parameter(torch.empty(shape).normal_(std=0.02))


def repeat_blocks(make: Callable[[], nn.Module], count: int) -> nn.ModuleList:
    """Make `count` blocks."""
    return nn.ModuleList(make() for _ in range(count))
