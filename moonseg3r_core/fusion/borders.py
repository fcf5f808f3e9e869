"""The borders between the masks of a frame: how long each is, and how much the image changes across it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_ACROSS = 50  # a picture is as many times as wide as the step across a border


def borders(image: Tensor, labels: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """Of each pair of masks, (M, M) float32 both: the mean change of colour over a step across their border, as the
    distance in RGB of [0, 1], and the pixels that take such a step, rows and columns counted.

    image (H, W, 3) uint8; labels (H, W) int32, m + 1 for mask m, 0 for none. The step, a fiftieth of the width, leaps over
    ragged borders and the gaps along them. Pairs without a border have a change of 0 over 0 pixels.
    """
    step = max(1, labels.shape[1] // _ACROSS)
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
    pixels, changes = (_of_pairs(values.view(masks + 1, masks + 1)) for values in (pixels, changes))
    return changes / pixels.clamp(min=1), pixels


def _of_pairs(table: Tensor) -> Tensor:
    """The table without the row and the column of no mask, either order of a pair counted."""
    return (table + table.T)[1:, 1:]


def _smooth(colors: Tensor, step: int) -> Tensor:
    """The mean over a window of half a step: noise and the grain of a texture are no edges."""
    window = step // 4 * 2 + 1
    return avg_pool2d(colors[None], window, 1, window // 2, count_include_pad=False)[0]
