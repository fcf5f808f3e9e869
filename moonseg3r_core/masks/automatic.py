"""Which of many overlapping masks stay: sure of their cutoff, alone in their box and place, without crumbs."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.types import MaskProposals

_PIXELS = 1 << 16  # compared at once: bounds the memory of `mask_ious`


def point_grid(side: int) -> Tensor:
    """The centres (side * side, 2) of equal cells of the unit square, (x, y) float32, row by row."""
    places = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    return torch.cartesian_prod(places, places).flip(1)


def stability(logits: Tensor, offset: float = 1.0) -> Tensor:
    """How little the masks (N, H, W) of float logits depend on the cutoff 0, (N,): the IoU of those at +-`offset`.

    NaN where both are empty (Kirillov et al. 2023, Segment Anything, section 5).
    """
    high, low = ((logits > cutoff).sum((1, 2), dtype=torch.int32) for cutoff in (offset, -offset))
    return high / low


def boxes_of(masks: Tensor) -> Tensor:
    """The first and last column and row of masks (N, H, W) bool, none of them empty: (N, 4) float32 x0, y0, x1, y1."""
    columns, rows = masks.any(1), masks.any(2)
    first = [lines.int().argmax(1) for lines in (columns, rows)]
    last = [lines.shape[1] - 1 - lines.flip(1).int().argmax(1) for lines in (columns, rows)]
    return torch.stack(first + last, dim=1).float()


def box_ious(boxes: Tensor) -> Tensor:
    """The IoU (N, N) of boxes (N, 4); NaN for two boxes without area."""
    low, high = boxes[:, :2], boxes[:, 2:]
    shared = torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)
    inside, areas = shared.clamp(min=0).prod(2), (high - low).prod(1)
    return inside / (areas[:, None] + areas - inside)


def mask_ious(masks: Tensor) -> Tensor:
    """The IoU (N, N) of masks (N, H, W) bool; NaN for two empty ones."""
    inside = torch.zeros(len(masks), len(masks), device=masks.device)
    for part in masks.flatten(1).split(_PIXELS, dim=1):
        part = part.float()
        inside += part @ part.T
    areas = inside.diagonal()
    return inside / (areas[:, None] + areas - inside)


def suppress(found: MaskProposals, ious: Tensor, limit: float) -> MaskProposals:
    """The masks that no better one stands for, best first, ties by row: a mask goes where its IoU (M, M) with a better
    one that stays is above `limit` (non-maximum suppression).
    """
    order = found.scores.sort(descending=True, stable=True).indices
    over = (ious > limit)[order][:, order].cpu().numpy()
    stays = np.ones(len(over), bool)
    for row in range(len(over)):
        if stays[row]:
            stays[row + 1 :] &= ~over[row, row + 1 :]
    kept = order[torch.from_numpy(stays).to(order.device)]
    return MaskProposals(found.masks[kept], found.scores[kept])


def without_crumbs(masks: Tensor, area: int) -> Tensor:
    """Masks (M, H, W) bool with holes under `area` pixels filled, then islands under it dropped; the largest island
    stays in any case. Regions touch at corners too.
    """
    if area <= 1:
        return masks
    cleaned = masks.to("cpu", copy=True)
    for mask, box in zip(cleaned.numpy(), boxes_of(masks).int().tolist(), strict=True):
        window = _around(box, area)
        mask[window] = _cleaned(mask[window], area)
    return cleaned.to(masks.device)


def _around(box: list[int], area: int) -> tuple[slice, slice]:
    """Rows and columns of a box, with so many around it that the empty ones on any side are no region under `area`,
    unless the image ends there.
    """
    left, top, right, bottom = box
    rows, columns = -(-area // (right - left + 1)), -(-area // (bottom - top + 1))
    return slice(max(top - rows, 0), bottom + rows + 1), slice(max(left - columns, 0), right + columns + 1)


def _cleaned(mask: np.ndarray, area: int) -> np.ndarray:
    regions, areas = _regions(~mask)
    mask = mask | ((areas > 0) & (areas < area))[regions]
    regions, areas = _regions(mask)
    return ((areas > 0) & (areas >= min(area, areas.max())))[regions]


def _regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The region (H, W) that each pixel of a mask lies in, 0 outside, and the regions' areas, that of 0 being 0."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return regions, areas
