"""Spatial keys: a frame's points averaged per cell, each with its mask (paper section 3.4, eq 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.types import Geometry, check

_CELLS_ACROSS = 40


@dataclass(frozen=True)
class SpatialKeys:
    """Keys of one frame: positions (n, 3) float32 world metres; masks (n,) int64, the row of the mask, -1 for none."""

    positions: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("keys.positions", self.positions, ("n", 3), torch.float32, sizes)
        check("keys.masks", self.masks, ("n",), torch.int64, sizes)

    def __len__(self) -> int:
        return self.positions.shape[0]


def compute_spatial_keys(geometry: Geometry, labels: Tensor, cell: int, merge_distance: float) -> SpatialKeys:
    """Compute one key for each cell of `cell` x `cell` pixels that has points and no depth edge.

    labels (H, W) int32 as in `types.Queries`; cell 0 means 40 cells from left to right. A key is the mean of the points
    within 2 `merge_distance` of the cell's median depth, which more than half must be. It belongs to the mask of more
    than half of the cell's pixels.
    """
    check("labels", labels, (geometry.grid.height, geometry.grid.width), torch.int32, {})
    cell = cell or choose_cell(geometry.grid.width)
    depth = _split_cells(torch.where(geometry.valid & (geometry.depth > 0), geometry.depth, torch.nan), cell)
    valid = depth.isfinite()
    surface = (depth - _compute_median(depth)[:, None]).abs() <= 2 * merge_distance
    count = surface.sum(1)
    sums = [torch.where(surface, _split_cells(axis, cell), 0.0).sum(1) for axis in geometry.points.unbind(-1)]
    positions = torch.stack(sums, dim=1) / count.clamp(min=1)[:, None]
    kept = (2 * count > valid.sum(1)) & positions.isfinite().all(1)
    return SpatialKeys(positions[kept], _find_majority(_split_cells(labels.float(), cell))[kept] - 1)


def choose_cell(width: int) -> int:
    """Choose the edge in pixels of cells of which 40 lie side by side in a grid of that width."""
    return -(-width // _CELLS_ACROSS) or 1


def _split_cells(image: Tensor, cell: int) -> Tensor:
    """Split an image (H, W) float into cells (n, cell * cell), row by row; NaN beyond the border."""
    height, width = image.shape
    rows, columns = -(-height // cell), -(-width // cell)
    padded = torch.nn.functional.pad(image, (0, columns * cell - width, 0, rows * cell - height), value=torch.nan)
    return padded.reshape(rows, cell, columns, cell).transpose(1, 2).reshape(rows * columns, cell * cell)


def _compute_median(cells: Tensor) -> Tensor:
    """Compute the lower median (n,) of each cell's numbers, NaN where it has none."""
    if cells.device.type != "cpu" or not len(cells):
        return torch.nanmedian(cells, dim=1).values if len(cells) else cells.new_zeros(0)
    rising = np.sort(cells.numpy(), axis=1)  # NaN last; in a tenth of torch's time
    middle = (np.count_nonzero(rising == rising, axis=1) - 1).clip(min=0) // 2
    return torch.from_numpy(np.take_along_axis(rising, middle[:, None], axis=1)[:, 0])


def _find_majority(labels: Tensor) -> Tensor:
    """Find the label (n,) int64 of more than half of a cell's pixels, else 0: a majority is always the median."""
    median = _compute_median(labels)
    major = 2 * (labels == median[:, None]).sum(1) > labels.isfinite().sum(1)
    return torch.where(major, median, 0.0).long()
