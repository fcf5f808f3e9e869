"""Lifting of 2D masks to partial 3D masks: labels, boxes and state tokens (paper section 3.1, eq 11)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.ops.pooling import count_cell_pixels, paint_labels
from moonseg3r_core.ops.spatial_keys import compute_spatial_keys
from moonseg3r_core.types import Geometry, MaskProposals, Queries

_LOW, _HIGH = 0.01, 0.99  # a box reaches from this share of a mask's points to that one
_MASKS_AT_ONCE = 256  # bounds the memory that the boxes of thousands of instances take


class Boxes(Protocol):
    """Geometry, labels (H, W) int32 with m + 1 for mask m -> axis-aligned world boxes (M, 2, 3)."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor: ...


def build_lift(boxes: str, min_points: int, cell: int, merge_distance: float) -> Lift:
    """Build the lift with boxes from points, or from the keys that the memory keeps."""
    return Lift(PointBoxes() if boxes == "points" else KeyBoxes(cell, merge_distance), min_points)


class Lift:
    """Proposals and geometry -> Queries without features; masks of fewer than `min_points` are left out."""

    def __init__(self, boxes: Boxes, min_points: int) -> None:
        self.boxes, self.min_points = boxes, min_points

    def __call__(self, proposals: MaskProposals, geometry: Geometry) -> Queries:
        labels = make_label_image(proposals, geometry)
        points = torch.bincount(_keep_valid(labels, geometry).flatten(), minlength=len(proposals) + 1)[1:]
        kept = points >= self.min_points
        labels, masks = _renumber(labels, kept), int(kept.sum())
        return Queries(
            features=torch.zeros(masks, 0, device=labels.device),
            labels=labels,
            areas=points[kept],
            boxes=self.boxes(geometry, labels, masks),
            scores=proposals.scores.to(labels.device)[kept],
            state_tokens=compute_state_tokens(geometry.state_attention, labels, masks),
        )


def make_label_image(proposals: MaskProposals, geometry: Geometry) -> Tensor:
    """Make one image (H, W) int32 on the geometry's grid, m + 1 for mask m."""
    return resample_to_grid(paint_labels(proposals), geometry).to(geometry.device)


def _keep_valid(labels: Tensor, geometry: Geometry) -> Tensor:
    """Keep labels (H, W) where there is a point; 0 elsewhere."""
    return torch.where(geometry.valid, labels, 0)


def _renumber(labels: Tensor, kept: Tensor) -> Tensor:
    """Renumber labels (H, W) of the masks that `kept` (M,) bool marks, from 1 without a gap."""
    if bool(kept.all()):
        return labels
    rank = torch.where(kept, kept.cumsum(0), 0).int()
    return torch.cat((rank.new_zeros(1), rank)).index_select(0, labels.flatten()).view(labels.shape)


def compute_state_tokens(attention: Tensor | None, labels: Tensor, masks: int) -> Tensor | None:
    """Compute the attention A (S, h, w) of each state token to each mask, (masks, S); None without a state. Eq 11."""
    if attention is None:
        return None
    _, h, w = attention.shape
    pixels = labels.numel() / (h * w)
    return count_cell_pixels(labels, masks, h, w) / pixels @ attention.flatten(1).T


class PointBoxes:
    """Boxes from the 1st to the 99th percentile of a mask's points along each axis (docs/decisions.md, 5)."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor:
        return compute_percentile_boxes(geometry.points.view(-1, 3), _keep_valid(labels, geometry).flatten(), masks)


class KeyBoxes:
    """The paper's boxes: least and greatest coordinates of a mask's spatial keys (section 3.5).

    They are padded by half the key spacing, for one key has no volume. A mask without a key has its points' box.
    """

    def __init__(self, cell: int, merge_distance: float) -> None:
        self.cell, self.merge_distance = cell, merge_distance

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor:
        keys = compute_spatial_keys(geometry, labels, self.cell, self.merge_distance)
        inside = (keys.masks == torch.arange(masks, device=labels.device)[:, None])[..., None]
        low = (
            torch.where(inside, keys.positions, torch.inf).amin(1)
            if len(keys)
            else keys.positions.new_full((masks, 3), torch.inf)
        )
        high = torch.where(inside, keys.positions, -torch.inf).amax(1) if len(keys) else -low
        boxes = torch.stack((low - self.merge_distance / 2, high + self.merge_distance / 2), dim=1)
        keyed = inside.any(1)[:, None]
        return torch.where(keyed, boxes, PointBoxes()(geometry, labels, masks))


def compute_percentile_boxes(points: Tensor, labels: Tensor, masks: int, samples: int = 2048) -> Tensor:
    """Compute boxes (masks, 2, 3) of finite points (N, 3) with labels (N,), m + 1 for mask m; NaN for a mask without any.

    At most `samples` points of a mask count. The fast twin of `compute_percentile_boxes_plain`.
    """
    order, starts = _sort_by_mask(labels, masks)
    counts = starts.diff()
    if not len(order) or not masks:
        return torch.full((masks, 2, 3), torch.nan, device=points.device)
    steps = (-(-counts // samples)).clamp(min=1)
    sizes, boxes = -(-counts // steps), points.new_empty(masks, 2, 3)
    magnitude = sizes.clamp(min=1).log2().div(2).ceil()  # each is padded to the largest of its chunk
    for chosen in (magnitude == m for m in magnitude.unique()):
        for chunk in torch.nonzero(chosen)[:, 0].split(_MASKS_AT_ONCE):
            boxes[chunk] = _compute_boxes(points, order, starts[chunk], steps[chunk], sizes[chunk])
    return boxes


def compute_percentile_boxes_plain(points: Tensor, labels: Tensor, masks: int, samples: int = 2048) -> Tensor:
    """Compute the boxes by the definition, mask by mask."""
    order, starts = _sort_by_mask(labels, masks)
    boxes = torch.full((masks, 2, 3), torch.nan, device=points.device)
    shares = torch.tensor([_LOW, _HIGH], device=points.device)
    for mask, (start, end) in enumerate(zip(starts.tolist(), starts.tolist()[1:], strict=False)):
        members = order[start:end]
        if len(members):
            boxes[mask] = torch.quantile(points[members[:: -(-len(members) // samples)]], shares, dim=0)
    return boxes


def _sort_by_mask(labels: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """Sort points by mask: order (N,), in which those of mask m begin at starts[m], (masks + 1,)."""
    # Numbers half as wide sort in half the time.
    narrow = torch.uint8 if masks < 255 else torch.int16 if masks < 32767 else torch.int32
    rows, order = labels.to(narrow).sort(stable=True)
    return order, torch.searchsorted(rows, torch.arange(1, masks + 2, device=rows.device, dtype=narrow))


def _compute_boxes(points: Tensor, order: Tensor, starts: Tensor, steps: Tensor, sizes: Tensor) -> Tensor:
    """Compute boxes (m, 2, 3) from `sizes` points of each mask, every steps-th of `order` from `starts`; all three (m,)."""
    nth = torch.arange(max(int(sizes.max()), 1), device=points.device)
    picked = points[order[(starts[:, None] + nth * steps[:, None]).clamp(max=len(order) - 1)]]
    boxes = torch.stack((_compute_quantile(picked, sizes, _LOW), _compute_quantile(picked, sizes, _HIGH)), dim=1)
    return torch.where((sizes > 0)[:, None, None], boxes, torch.nan)


def _compute_quantile(points: Tensor, sizes: Tensor, share: float) -> Tensor:
    """Compute torch.quantile of the first sizes[m] of points (m, n, 3), as (m, 3); only the needed tail is sorted."""
    rank, largest = share * (sizes - 1).float(), share > 0.5
    ranks = torch.stack((rank.floor(), rank.ceil()), dim=1).long()
    if largest:
        ranks = (sizes - 1)[:, None] - ranks
    used = (torch.arange(points.shape[1], device=points.device) < sizes[:, None])[..., None]
    tail = torch.where(used, points, -torch.inf if largest else torch.inf)
    tail = tail.topk(int(ranks.max()) + 1, dim=1, largest=largest).values
    below, above = tail.gather(1, ranks.clamp(min=0)[..., None].expand(-1, -1, 3)).unbind(1)
    return torch.lerp(below, above, (rank - rank.floor())[:, None])
