"""Selection among many overlapping masks: stability, non-maximum suppression, removal of small regions."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.types import MaskProposals

_PIXELS = 1 << 16  # compared at once: bounds the memory of `compute_mask_ious`


def make_point_grid(side: int) -> Tensor:
    """Make the centres (side * side, 2) of equal cells of the unit square, (x, y) float32, row by row."""
    places = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    return torch.cartesian_prod(places, places).flip(1)


def compute_stability(logits: Tensor, offset: float = 1.0) -> Tensor:
    """Compute the stability (N,) of masks with float logits (N, H, W): the IoU of those at cutoffs +-`offset`.

    NaN where both are empty (Kirillov et al. 2023, Segment Anything, section 5).
    """
    high, low = ((logits > cutoff).sum((1, 2), dtype=torch.int32) for cutoff in (offset, -offset))
    return high / low


def compute_boxes(masks: Tensor) -> Tensor:
    """Compute the boxes (N, 4) float32 x0, y0, x1, y1 of masks (N, H, W) bool, none of them empty."""
    columns, rows = masks.any(1), masks.any(2)
    first = [lines.int().argmax(1) for lines in (columns, rows)]
    last = [lines.shape[1] - 1 - lines.flip(1).int().argmax(1) for lines in (columns, rows)]
    return torch.stack(first + last, dim=1).float()


def compute_box_ious(boxes: Tensor) -> Tensor:
    """Compute the IoU (N, N) of boxes (N, 4); NaN for two boxes without area."""
    low, high = boxes[:, :2], boxes[:, 2:]
    shared = torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)
    inside, areas = shared.clamp(min=0).prod(2), (high - low).prod(1)
    return inside / (areas[:, None] + areas - inside)


def compute_mask_ious(masks: Tensor) -> Tensor:
    """Compute the IoU (N, N) of masks (N, H, W) bool; NaN for two empty ones."""
    inside = torch.zeros(len(masks), len(masks), device=masks.device)
    for part in masks.flatten(1).split(_PIXELS, dim=1):
        part = part.float()
        inside += part @ part.T
    areas = inside.diagonal()
    return inside / (areas[:, None] + areas - inside)


def suppress(found: MaskProposals, ious: Tensor, limit: float) -> MaskProposals:
    """Return the proposals left by non-maximum suppression, best first, ties by row.

    A mask goes where its IoU (M, M) with a better one that stays is above `limit`.
    """
    order = found.scores.sort(descending=True, stable=True).indices
    over = (ious > limit)[order][:, order].cpu().numpy()
    stays = np.ones(len(over), bool)
    for row in range(len(over)):
        if stays[row]:
            stays[row + 1 :] &= ~over[row, row + 1 :]
    kept = order[torch.from_numpy(stays).to(order.device)]
    return MaskProposals(found.masks[kept], found.scores[kept])


def remove_small_regions(masks: Tensor, area: int) -> Tensor:
    """Fill holes under `area` pixels in masks (M, H, W) bool, then drop islands under it.

    The largest island stays in any case. Regions touch at corners too.
    """
    if area <= 1:
        return masks
    cleaned = masks.to("cpu", copy=True)
    for mask, box in zip(cleaned.numpy(), compute_boxes(masks).int().tolist(), strict=True):
        window = _expand_box(box, area)
        mask[window] = _clean(mask[window], area)
    return cleaned.to(masks.device)


def _expand_box(box: list[int], area: int) -> tuple[slice, slice]:
    """Return the rows and columns of a box with a margin around it.

    The margin is so wide that the empty pixels on any side are no region under `area`, unless the image ends there.
    """
    left, top, right, bottom = box
    rows, columns = -(-area // (right - left + 1)), -(-area // (bottom - top + 1))
    return slice(max(top - rows, 0), bottom + rows + 1), slice(max(left - columns, 0), right + columns + 1)


def _clean(mask: np.ndarray, area: int) -> np.ndarray:
    regions, areas = _label_regions(~mask)
    mask = mask | ((areas > 0) & (areas < area))[regions]
    regions, areas = _label_regions(mask)
    return ((areas > 0) & (areas >= min(area, areas.max())))[regions]


def _label_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label the regions (H, W) of a mask, 0 outside; also return the regions' areas, 0 for region 0."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return regions, areas
