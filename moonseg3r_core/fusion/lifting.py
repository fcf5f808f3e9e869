"""2D masks unprojected: what fusion needs to know of each partial 3D mask (paper section 3.1, eq 11)."""

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
    """Axis-aligned boxes (M, 2, 3) of masks in the world; labels (H, W) int32, m + 1 for mask m."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor: ...


def build_lift(boxes: str, min_points: int, cell: int, merge_distance: float) -> Lift:
    """Build the lift with boxes from points, or from the keys that the memory keeps."""
    return Lift(PointBoxes() if boxes == "points" else KeyBoxes(cell, merge_distance), min_points)


class Lift:
    """Proposals and geometry -> Queries that have no features yet; a mask of fewer than `min_points` has no place."""

    def __init__(self, boxes: Boxes, min_points: int) -> None:
        self.boxes, self.min_points = boxes, min_points

    def __call__(self, proposals: MaskProposals, geometry: Geometry) -> Queries:
        labels = label_image(proposals, geometry)
        points = torch.bincount(_on_points(labels, geometry).flatten(), minlength=len(proposals) + 1)[1:]
        held = points >= self.min_points
        labels, masks = _numbered_anew(labels, held), int(held.sum())
        return Queries(
            features=torch.zeros(masks, 0, device=labels.device),
            labels=labels,
            areas=points[held],
            boxes=self.boxes(geometry, labels, masks),
            scores=proposals.scores.to(labels.device)[held],
            state_tokens=state_distribution_tokens(geometry.state_attention, labels, masks),
        )


def label_image(proposals: MaskProposals, geometry: Geometry) -> Tensor:
    """The masks as one image of rows + 1, (H, W) int32 on the geometry's grid."""
    return resample_to_grid(paint_labels(proposals), geometry).to(geometry.device)


def _on_points(labels: Tensor, geometry: Geometry) -> Tensor:
    """Labels (H, W) where there is a point, 0 elsewhere."""
    return torch.where(geometry.valid, labels, 0)


def _numbered_anew(labels: Tensor, held: Tensor) -> Tensor:
    """Labels (H, W) of the masks that `held` (M,) bool marks, from 1 without a gap."""
    if bool(held.all()):
        return labels
    rank = torch.where(held, held.cumsum(0), 0).int()
    return torch.cat((rank.new_zeros(1), rank)).index_select(0, labels.flatten()).view(labels.shape)


def state_distribution_tokens(attention: Tensor | None, labels: Tensor, masks: int) -> Tensor | None:
    """Eq 11: the attention A (S, h, w) that each state token pays to each mask, (masks, S); None without a state."""
    if attention is None:
        return None
    _, h, w = attention.shape
    pixels = labels.numel() / (h * w)
    return count_cell_pixels(labels, masks, h, w) / pixels @ attention.flatten(1).T


class PointBoxes:
    """Boxes from the 1st to the 99th percentile of a mask's points along each axis (docs/decisions.md, 5)."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor:
        return percentile_boxes(geometry.points.view(-1, 3), _on_points(labels, geometry).flatten(), masks)


class KeyBoxes:
    """The paper's boxes: least and greatest coordinates of a mask's spatial keys (section 3.5), padded by half the key
    spacing, for one key has no volume. A mask without a key has its points' box.
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


def percentile_boxes(points: Tensor, labels: Tensor, masks: int, samples: int = 2048) -> Tensor:
    """Boxes (masks, 2, 3) of points (N, 3) with labels (N,), m + 1 for mask m, from at most `samples` points of each, all
    finite; NaN where a mask has none. The fast twin of `percentile_boxes_plain`.
    """
    order, starts = _by_mask(labels, masks)
    counts = starts.diff()
    if not len(order) or not masks:
        return torch.full((masks, 2, 3), torch.nan, device=points.device)
    steps = (-(-counts // samples)).clamp(min=1)
    sizes, boxes = -(-counts // steps), points.new_empty(masks, 2, 3)
    magnitude = sizes.clamp(min=1).log2().div(2).ceil()  # each is padded to the largest of its chunk
    for chosen in (magnitude == m for m in magnitude.unique()):
        for chunk in torch.nonzero(chosen)[:, 0].split(_MASKS_AT_ONCE):
            boxes[chunk] = _boxes(points, order, starts[chunk], steps[chunk], sizes[chunk])
    return boxes


def percentile_boxes_plain(points: Tensor, labels: Tensor, masks: int, samples: int = 2048) -> Tensor:
    """The definition, mask by mask."""
    order, starts = _by_mask(labels, masks)
    boxes = torch.full((masks, 2, 3), torch.nan, device=points.device)
    shares = torch.tensor([_LOW, _HIGH], device=points.device)
    for mask, (start, end) in enumerate(zip(starts.tolist(), starts.tolist()[1:], strict=False)):
        members = order[start:end]
        if len(members):
            boxes[mask] = torch.quantile(points[members[:: -(-len(members) // samples)]], shares, dim=0)
    return boxes


def _by_mask(labels: Tensor, masks: int) -> tuple[Tensor, Tensor]:
    """The points in the order of their masks: order (N,), of which those of mask m begin at starts[m], (masks + 1,)."""
    narrow = (
        torch.uint8 if masks < 255 else torch.int16 if masks < 32767 else torch.int32
    )  # half as wide, half the time
    rows, order = labels.to(narrow).sort(stable=True)
    return order, torch.searchsorted(rows, torch.arange(1, masks + 2, device=rows.device, dtype=narrow))


def _boxes(points: Tensor, order: Tensor, starts: Tensor, steps: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (m, 2, 3) from `sizes` points of each mask, every steps-th of `order` from `starts` on; all three (m,)."""
    nth = torch.arange(max(int(sizes.max()), 1), device=points.device)
    picked = points[order[(starts[:, None] + nth * steps[:, None]).clamp(max=len(order) - 1)]]
    boxes = torch.stack((_quantile(picked, sizes, _LOW), _quantile(picked, sizes, _HIGH)), dim=1)
    return torch.where((sizes > 0)[:, None, None], boxes, torch.nan)


def _quantile(points: Tensor, sizes: Tensor, share: float) -> Tensor:
    """torch.quantile of the first sizes[m] of points (m, n, 3), as (m, 3); only the tail that it needs is sorted."""
    rank, largest = share * (sizes - 1).float(), share > 0.5
    ranks = torch.stack((rank.floor(), rank.ceil()), dim=1).long()
    if largest:
        ranks = (sizes - 1)[:, None] - ranks
    held = (torch.arange(points.shape[1], device=points.device) < sizes[:, None])[..., None]
    tail = torch.where(held, points, -torch.inf if largest else torch.inf)
    tail = tail.topk(int(ranks.max()) + 1, dim=1, largest=largest).values
    below, above = tail.gather(1, ranks.clamp(min=0)[..., None].expand(-1, -1, 3)).unbind(1)
    return torch.lerp(below, above, (rank - rank.floor())[:, None])
