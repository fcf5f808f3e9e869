"""2D masks unprojected: what fusion needs to know of each partial 3D mask (paper section 3.1, eq 11)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.keys import spatial_keys
from moonseg3r_core.pooling import cell_counts, to_labels
from moonseg3r_core.types import Geometry, MaskProposals, Queries


class Boxes(Protocol):
    """Axis-aligned boxes (M, 2, 3) of masks in the world; labels (H, W) int32, m + 1 for mask m."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor: ...


class Lift:
    """Proposals and geometry -> Queries that have no features yet; a mask of fewer than `min_points` has no place."""

    def __init__(self, boxes: Boxes, min_points: int = 10) -> None:
        self.boxes, self.min_points = boxes, min_points

    def __call__(self, proposals: MaskProposals, geometry: Geometry) -> Queries:
        labels, kept = self._with_points(label_image(proposals, geometry), geometry.valid, len(proposals))
        masks = len(kept)
        return Queries(
            features=torch.zeros(masks, 0, device=labels.device),
            labels=labels,
            areas=torch.bincount(labels[geometry.valid], minlength=masks + 1)[1:],
            boxes=self.boxes(geometry, labels, masks),
            scores=proposals.scores.to(labels.device)[kept],
            state_tokens=state_distribution_tokens(geometry.state_attention, labels, masks),
        )

    def _with_points(self, labels: Tensor, valid: Tensor, masks: int) -> tuple[Tensor, Tensor]:
        """Labels without the masks that have too few points, numbered anew, and the rows that are kept."""
        points = torch.bincount(labels[valid], minlength=masks + 1)[1:]
        held = points >= self.min_points
        rank = torch.where(held, held.cumsum(0), 0).int()
        return torch.cat((rank.new_zeros(1), rank))[labels.long()], torch.nonzero(held).flatten()


def label_image(proposals: MaskProposals, geometry: Geometry) -> Tensor:
    """The masks as one image of rows + 1, (H, W) int32 on the geometry's grid."""
    return to_grid(to_labels(proposals), geometry).to(geometry.device)


def to_grid(image: Tensor, geometry: Geometry) -> Tensor:
    """An image (H, W) sampled at the pixels of the geometry's grid, nearest."""
    grid = geometry.grid
    if grid.is_image((image.shape[0], image.shape[1])):
        return image
    u = (torch.arange(grid.width, device=image.device) * grid.scale_u + grid.offset_u).round().long()
    v = (torch.arange(grid.height, device=image.device) * grid.scale_v + grid.offset_v).round().long()
    return image[v.clamp(0, image.shape[0] - 1)[:, None], u.clamp(0, image.shape[1] - 1)[None, :]]


def to_image(labels: Tensor, geometry: Geometry, size: tuple[int, int]) -> Tensor:
    """Labels on the geometry's grid brought back to an image of `size` (H, W); 0 outside of the grid."""
    grid = geometry.grid
    if grid.is_image(size):
        return labels
    u = ((torch.arange(size[1], device=labels.device) - grid.offset_u) / grid.scale_u).round().long()
    v = ((torch.arange(size[0], device=labels.device) - grid.offset_v) / grid.scale_v).round().long()
    inside = ((v >= 0) & (v < grid.height))[:, None] & ((u >= 0) & (u < grid.width))[None, :]
    picked = labels[v.clamp(0, grid.height - 1)[:, None], u.clamp(0, grid.width - 1)[None, :]]
    return torch.where(inside, picked, 0)


def state_distribution_tokens(attention: Tensor | None, labels: Tensor, masks: int) -> Tensor | None:
    """Eq 11: the attention A (S, h, w) that each state token pays to each mask, (masks, S); None without a state."""
    if attention is None:
        return None
    _, h, w = attention.shape
    pixels = labels.numel() / (h * w)
    return cell_counts(labels, masks, h, w) / pixels @ attention.flatten(1).T


class PointBoxes:
    """Boxes from the 1st to the 99th percentile of a mask's points along each axis (decision 5)."""

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor:
        return percentile_boxes(geometry.points[geometry.valid], labels[geometry.valid], masks)


class KeyBoxes:
    """The paper's boxes: least and greatest coordinates of a mask's spatial keys (section 3.5), padded by half the key
    spacing, for one key has no volume. A mask without a key has its points' box.
    """

    def __init__(self, cell: int, merge_distance: float) -> None:
        self.cell, self.merge_distance = cell, merge_distance

    def __call__(self, geometry: Geometry, labels: Tensor, masks: int) -> Tensor:
        keys = spatial_keys(geometry, labels, self.cell, self.merge_distance)
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
    """Boxes (masks, 2, 3) of points (N, 3) with labels (N,), m + 1 for mask m, from at most `samples` points of each;
    NaN where a mask has none.
    """
    rows, order = labels.sort(stable=True)
    starts = torch.searchsorted(rows, torch.arange(1, masks + 2, device=rows.device, dtype=rows.dtype)).tolist()
    boxes = torch.full((masks, 2, 3), torch.nan, device=points.device)
    share = torch.tensor([0.01, 0.99], device=points.device)
    for mask in range(masks):
        members = order[starts[mask] : starts[mask + 1]]
        if len(members):
            members = members[:: -(-len(members) // samples)]
            boxes[mask] = torch.quantile(points[members], share, dim=0)
    return boxes
