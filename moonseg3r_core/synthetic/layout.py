"""Placements of pieces as oriented blocks, and the free floor between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from moonseg3r_core.synthetic.pieces import Piece

CELL = 0.05  # metres, of the floor plan
MARGIN = 0.28  # metres between the camera and all obstacles


@dataclass(frozen=True)
class Block:
    """The upright bounding box of an object: its footprint by center, half extents and yaw, and its heights."""

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float
    low: float
    high: float

    @cached_property
    def _radius(self) -> float:
        return math.hypot(self.half_x, self.half_y)

    @cached_property
    def corners(self) -> np.ndarray:
        """(4, 2) the footprint's corners."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        along, across = np.array([c, s]) * self.half_x, np.array([-s, c]) * self.half_y
        return np.array([self.x, self.y]) + np.array([along + across, along - across, -along - across, across - along])

    def overlaps(self, other: Block, gap: float = 0.004) -> bool:
        """Tell whether two blocks are nearer than `gap` on the plan while their heights overlap (separating axes)."""
        if self.low >= other.high - 1e-6 or other.low >= self.high - 1e-6:
            return False
        if math.hypot(self.x - other.x, self.y - other.y) > self._radius + other._radius + 2 * gap:
            return False  # so far apart, one of the axes below finds its gap
        mine, theirs = self.corners, other.corners
        for angle in (self.yaw, other.yaw):
            for axis in ((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))):
                a, b = mine @ axis, theirs @ axis
                if a.max() + gap <= b.min() or b.max() + gap <= a.min():
                    return False
        return True

    def is_within(self, half_x: float, half_y: float) -> bool:
        """Tell whether the footprint lies in the rectangle of these half extents around the origin."""
        reach = np.abs(self.corners).max(0)
        return bool(reach[0] <= half_x and reach[1] <= half_y)


@dataclass(frozen=True, eq=False)
class Placement:
    """A piece with the position (x, y, z) of its origin and its yaw."""

    piece: Piece
    x: float
    y: float
    z: float
    yaw: float

    def block(self) -> Block:
        """The bounding block of the piece."""
        (hx, hy), height = self.piece.half, self.piece.height
        if self.piece.mount == "wall":
            x, y = self.to_world(0.0, -hy / 2)
            return Block(x, y, hx, hy / 2, self.yaw, self.z, self.z + height)
        low = self.z - height if self.piece.mount == "ceiling" else self.z
        return Block(self.x, self.y, hx, hy, self.yaw, low, low + height)

    def to_world(self, x: float, y: float) -> tuple[float, float]:
        """Transform a point from the piece's plan to the room's."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return self.x + c * x - s * y, self.y + s * x + c * y


def compute_free_plan(half_x: float, half_y: float, blocks: Sequence[Block], margin: float = MARGIN) -> np.ndarray:
    """Compute the free cells (rows y, columns x) bool of 5 cm from the corner (-half_x, -half_y)."""
    xs, ys = (np.arange(-half + CELL / 2, half, CELL) for half in (half_x, half_y))
    x, y = np.meshgrid(xs, ys)
    free = (np.abs(x) <= half_x - margin) & (np.abs(y) <= half_y - margin)
    for block in blocks:
        reach = np.hypot(block.half_x, block.half_y) + margin + CELL
        rows, columns = (slice(*np.searchsorted(a, (m - reach, m + reach))) for a, m in ((ys, block.y), (xs, block.x)))
        dx, dy = x[rows, columns] - block.x, y[rows, columns] - block.y
        c, s = np.cos(block.yaw), np.sin(block.yaw)
        along, across = c * dx + s * dy, -s * dx + c * dy
        off = np.hypot((np.abs(along) - block.half_x).clip(0), (np.abs(across) - block.half_y).clip(0))
        free[rows, columns] &= off > margin
    return free


def keep_largest(free: np.ndarray) -> np.ndarray:
    """Keep the largest connected part of a plan."""
    parts, count = ndimage.label(free)
    if count == 0:
        return np.zeros_like(free)
    return parts == 1 + int(np.argmax(ndimage.sum_labels(free, parts, range(1, count + 1))))


def select_obstacles(blocks: Sequence[Block]) -> list[Block]:
    """Select the blocks between ankle and head height."""
    return [b for b in blocks if b.low < 1.95 and b.high > 0.03]
