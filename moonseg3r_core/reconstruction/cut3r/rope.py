"""Rotary positions in two dimensions: half of a head's channels turn by the row, half by the column."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BASE = 100.0


@dataclass(frozen=True)
class Rotation:
    """Turns queries and keys (B, heads, N, width) by their tokens' positions; cos, sin (N, width) float32."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """In float32, given back in the dtype that came."""
        first, second = x.float().unflatten(-1, (2, 2, -1)).unbind(-2)
        across = torch.stack((-second, first), dim=-2).flatten(-3)
        return (x * self.cos + across * self.sin).to(x.dtype)


class RoundedRotation(Rotation):
    """As `Rotation`, with float16 on the way in and out, as the original's encoder has it on a GPU (facts, section 4)."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.half().float()).half().to(x.dtype)


def rotation(positions: Tensor, width: int, kind: type[Rotation] = Rotation) -> Rotation:
    """The rotation for positions (N, 2), row and column, which may be negative, and heads of `width` channels.

    Pair j of the Q = width / 4 pairs of each half turns by position * 100^(-j / Q).
    """
    pairs = width // 4
    rates = BASE ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / pairs)
    angles = positions.float()[:, :, None, None] * rates  # (N, 2 halves, 1, Q)
    angles = angles.expand(-1, -1, 2, -1).flatten(1)
    return kind(angles.cos(), angles.sin())


def grid_positions(h: int, w: int, device: torch.device | str = "cpu") -> Tensor:
    """Row and column (h * w, 2) of the cells of a grid, row by row."""
    rows, columns = torch.arange(h, device=device), torch.arange(w, device=device)
    return torch.cartesian_prod(rows, columns)
