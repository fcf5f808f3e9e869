"""Textures of printed, woven and glossy surfaces. No furnished room has them; trainings put them on more things.

Each takes points (3, N) in texture units, the grain's direction last, and gives the second color's share (N,).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moonseg3r_core.synthetic.noise import Noise, take_fraction

_BLOCK = (14.0, 7.0)  # letters and lines of one block of a page


def _paint_text(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    """Paint lines of letters, stacked along the grain; a face across the grain stays blank."""
    return _write(q[0] + q[1], q[2], noise) * q[2].ne(0.5)


def _paint_page(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    """Paint blocks of text, headings and pictures; a face across the grain stays blank."""
    along, up = q[0] + q[1], q[2]
    kind = noise.sample_cell((along / _BLOCK[0]).floor(), (up / _BLOCK[1]).floor(), torch.zeros_like(up))
    picture = noise.sample_cell((along * 0.31).floor(), (up * 0.43).floor(), torch.ones_like(up))
    words = torch.where(kind < 0.65, _write(along / 3.5, up / 3.5, noise), _write(along, up, noise))
    return torch.where(kind < 0.35, picture, words) * up.ne(0.5)


def _write(along: Tensor, up: Tensor, noise: Noise) -> Tensor:
    """Write letters 0.5 wide in lines 1 apart, some of them blanks."""
    letters = along * 2.0
    ink = noise.sample_cell(letters.floor(), up.floor(), torch.zeros_like(up)).gt(0.28)
    within, height = take_fraction(letters), take_fraction(up)
    return (ink & (within < 0.72) & (height > 0.22) & (height < 0.75)).float()


def _paint_plaid(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    """Paint bands of several tones that cross each other."""
    band = q.floor().remainder(5)
    zero = torch.zeros_like(band[0])
    tones = [noise.sample_cell(band[axis], zero, zero + 3) for axis in range(3)]
    return ((tones[0] + tones[1] + tones[2]) / 1.5 - 0.5).clamp(0, 1)


def _paint_bold(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    """Paint large shapes with sharp contours, and smaller ones within."""
    large, small = noise.sample_smooth(q * 0.9), noise.sample_smooth(q * 2.3 + 7.7)
    return ((large - 0.52) * 40).clamp(0, 1) * (1 - 0.7 * ((small - 0.6) * 40).clamp(0, 1))


def _paint_panels(q: Tensor, aspect: Tensor, _noise: Noise) -> Tensor:
    """Paint panels `aspect` times as long as wide, of one tone: joints, and a frame within each."""
    x, y = take_fraction(q[0] + q[1]), take_fraction(q[2] / aspect)
    off = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y) * aspect)
    return 0.9 * off.lt(0.025) + 0.5 * (off.gt(0.14) & off.lt(0.165))


def _paint_gloss(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    """Paint soft streaks, as of lamps and windows that a lacquer reflects."""
    bent = 0.4 * noise.sample_smooth(q * 0.6)
    streak = take_fraction((q[0] + q[1]) * 0.37 + q[2] * 0.61 + bent)
    return 0.75 * (1 - 7 * (streak - 0.5).abs()).clamp(0, 1) + 0.25 * (1 - (streak - 0.5).abs() * 2)


def _paint_skyline(q: Tensor, aspect: Tensor, noise: Noise) -> Tensor:
    """Paint dim and bright silhouettes before a pale ground, as of a room that a mirror reflects."""
    column, along = (q[0] + q[1]).floor(), take_fraction(q[2] / aspect)
    zero = torch.zeros_like(column)
    height, tone = noise.sample_cell(column, zero, zero), noise.sample_cell(column, zero + 1, zero)
    return torch.where(along < 0.2 + 0.7 * height, 0.25 + 0.75 * tone, 0.15 * along)


PRINTS: dict[str, Callable[[Tensor, Tensor, Noise], Tensor]] = {
    "text": _paint_text, "page": _paint_page, "plaid": _paint_plaid, "bold": _paint_bold, "panels": _paint_panels,
    "gloss": _paint_gloss, "skyline": _paint_skyline,
}  # fmt: skip
