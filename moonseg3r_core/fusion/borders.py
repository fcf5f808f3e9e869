"""The borders between the masks of a frame: their lengths, and the change of color across them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_STEPS_ACROSS = 50  # image width over the step across a border


def measure_borders(image: Tensor, labels: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """Measure the border of each pair of masks: mean change of color across it, and its pixels, (M, M) float32 both.

    image (H, W, 3) uint8; labels (H, W) int32, m + 1 for mask m, 0 for none. The change is the distance in RGB of [0, 1]
    over a step of a fiftieth of the width, which spans ragged borders and gaps. Pixels count along rows and columns.
    Pairs without a border have a change of 0 over 0 pixels.
    """
    step = max(1, labels.shape[1] // _STEPS_ACROSS)
    colors = _smooth(image.permute(2, 0, 1).float() / 255, step)
    rows = labels.long()
    pixels = changes = torch.zeros((masks + 1) ** 2, device=labels.device)
    for axis, size in enumerate(rows.shape):
        steps = max(size - step, 0)
        here, there = (rows.narrow(axis, start, steps) for start in (0, size - steps))
        before, behind = (colors.narrow(axis + 1, start, steps) for start in (0, size - steps))
        change = (before - behind).norm(dim=0)
        pair = (here * (masks + 1) + there).flatten()
        pixels = pixels + torch.bincount(pair, minlength=len(pixels))
        changes = changes + torch.bincount(pair, change.flatten(), minlength=len(changes))
    pixels, changes = (_sum_orders(values.view(masks + 1, masks + 1)) for values in (pixels, changes))
    return changes / pixels.clamp(min=1), pixels


def _sum_orders(table: Tensor) -> Tensor:
    """Sum both orders of each pair in a table (M + 1, M + 1), and drop row and column 0, which are of no mask."""
    return (table + table.T)[1:, 1:]


def _smooth(colors: Tensor, step: int) -> Tensor:
    """Average over a window of half a step: noise and fine texture are no edges."""
    window = step // 4 * 2 + 1
    return avg_pool2d(colors[None], window, 1, window // 2, count_include_pad=False)[0]
