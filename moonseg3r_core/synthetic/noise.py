"""Noise that textures are made of."""

from __future__ import annotations

import torch
from torch import Tensor

_VOLUME = 32  # edge of the periodic lattice that all noise is read from
_CLOSED = _VOLUME + 1  # and with its first cells again at its end


class Noise:
    """Random numbers in [0, 1) on a periodic lattice (32, 32, 32) of cells x + 32 y + 32^2 z, on one device."""

    def __init__(self, device: torch.device) -> None:
        edge = (_VOLUME, _VOLUME, _VOLUME)
        cells = torch.rand(edge, generator=torch.Generator().manual_seed(0)).to(device)
        self._cells = cells.flatten()
        closed = torch.nn.functional.pad(cells[None, None], (0, 1, 0, 1, 0, 1), mode="circular").flatten()
        self._corners = [closed[x + _CLOSED * (y + _CLOSED * z) :] for z in (0, 1) for y in (0, 1) for x in (0, 1)]

    def sample_smooth(self, points: Tensor) -> Tensor:
        """Sample trilinear noise in [0, 1] (N,) at points (3, N) in lattice cells, periodic."""
        within = take_fraction(points / _VOLUME).mul_(_VOLUME)
        low = within.floor().clamp_(max=_VOLUME - 1)
        x, y, z = within.sub_(low)
        first = (low[2] * _CLOSED).add_(low[1]).mul_(_CLOSED).add_(low[0]).to(torch.int32)
        c = [corner.index_select(0, first) for corner in self._corners]
        front = c[0].lerp_(c[1], x).lerp_(c[2].lerp_(c[3], x), y)
        return front.lerp_(c[4].lerp_(c[5], x).lerp_(c[6].lerp_(c[7], x), y), z)

    def sample_cell(self, *cells: Tensor) -> Tensor:
        """Sample one number in [0, 1) per integer cell."""
        i, j, k = (c.to(torch.int32) for c in cells)
        a, b, c = (i + 7 * j + 3, j + 5 * k + 11, k + 3 * i + 19)
        last = _VOLUME - 1  # all its bits are ones
        return self._cells.index_select(0, ((a & last) * _VOLUME + (b & last)) * _VOLUME + (c & last))


def take_fraction(x: Tensor) -> Tensor:
    """Take the part of numbers above the next lower whole number."""
    return x - x.floor()
