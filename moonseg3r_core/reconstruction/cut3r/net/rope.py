"""Rotary position embedding in two dimensions: half of a head's channels rotate by the row, half by the column."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BASE = 100.0


@dataclass(frozen=True)
class Rotation:
    """Rotates queries and keys (B, N, heads, width) by their tokens' positions; cos, sin (N, 1, width) float32.

    Of a pair (u, v), u' = u cos - v sin and v' = v cos + u sin; sin holds both signs.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Computes in float32 and returns the input's dtype."""
        wide = x.float()
        swapped = wide.unflatten(-1, (2, 2, -1)).flip(-2).flatten(-3)
        return torch.addcmul(wide * self.cos, swapped, self.sin).to(x.dtype)


class RoundedRotation(Rotation):
    """A rotation with float16 input and output, as in the original's encoder on a GPU (docs/cut3r_facts.md, 4)."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.half().float()).half().to(x.dtype)


def make_rotation(positions: Tensor, width: int, kind: type[Rotation] = Rotation) -> Rotation:
    """Make the rotation for positions (N, 2), row and column, which may be negative, and heads of `width` channels.

    In each half, channels j and j + Q are a pair (Q = width / 4), which rotates by position * 100^(-j / Q).
    """
    pairs = width // 4
    rates = BASE ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / pairs)
    angles = positions.float()[:, None, :, None, None] * rates  # (N, 1, 2 halves, 1, Q)
    cos, sin = angles.cos(), angles.sin()
    return kind(torch.cat((cos, cos), dim=-2).flatten(2), torch.cat((-sin, sin), dim=-2).flatten(2))


def make_grid_positions(h: int, w: int, device: torch.device | str = "cpu") -> Tensor:
    """Make the rows and columns (h * w, 2) of a grid's cells, row by row."""
    rows, columns = torch.arange(h, device=device), torch.arange(w, device=device)
    return torch.cartesian_prod(rows, columns)
