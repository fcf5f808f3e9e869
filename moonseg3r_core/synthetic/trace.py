"""Find the first hit of each pixel's ray. A primitive is intersected with the rays inside its image bound only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, NEAR, TINY, Primitives, enter

_BATCH = 1 << 18  # pairs of a ray and a primitive at once


@dataclass(frozen=True)
class View:
    """A pinhole camera: focal lengths and center in pixels, size, rotation (3, 3) and position (3,) in the world."""

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int
    rotation: Tensor
    position: Tensor

    def compute_rays(self) -> Tensor:
        """Compute world directions (3, H * W) of length 1 along z, as sums: a GPU may round matrix products."""
        right, down, forward = self.rotation.T[:, :, None, None]
        x = (torch.arange(self.width, device=self.position.device) - self.cx) / self.fx
        y = (torch.arange(self.height, device=self.position.device)[:, None] - self.cy) / self.fy
        return (x * right + y * down).add_(forward).reshape(3, -1)


class Solids:
    """P primitives, sorted by kind, precomputed for intersection with rays."""

    def __init__(self, primitives: Primitives) -> None:
        p = primitives
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=p.half.device)] * 3)
        turn, center = p.rotation.double(), p.center.double()
        corners = (signs * p.half[:, None]).double() @ turn.transpose(1, 2) + center[:, None]
        inverse = turn.transpose(1, 2) / p.half.double()[:, :, None]
        self._corners = corners.permute(2, 1, 0).reshape(3, -1)
        self._inverse = inverse.transpose(0, 1).reshape(-1, 3)  # unit axis and primitive, world axis
        self._origin = (inverse @ center[:, :, None])[..., 0].T[:, :, None]
        self._taper = p.taper[None]
        self._ends = [int((p.kind <= kind).sum()) for kind in (BOX, ELLIPSOID, FRUSTUM)]
        self._edges = tuple(torch.tensor(ends, device=p.half.device) for ends in _EDGES)

    def __len__(self) -> int:
        return self._taper.shape[1]

    def find_hits(self, view: View) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield pixels (n,) int64, the depths (n,) at which their rays enter a primitive, inf for a miss, and its row (n,)."""
        low, high = self._compute_bounds(view)
        extent = (high - low).clamp(min=0)
        area = extent[0] * extent[1]
        start = area.cumsum(0) - area
        table = torch.cat((self._compute_unit_rays(view), self._taper, extent[:1], low, start[None]))
        sizes = area.long()
        counts = sizes.tolist()
        for first, last in _split_rows(counts):
            ends = [sum(counts[first : max(first, min(end, last))]) for end in self._ends]
            rows = torch.arange(first, last, device=sizes.device)
            owner = rows.repeat_interleave(sizes[first:last], output_size=ends[-1])
            pixel, entered = _enter_solids(view, table.index_select(1, owner), ends, sum(counts[:first]))
            yield pixel, entered, owner

    def _compute_bounds(self, view: View) -> tuple[Tensor, Tensor]:
        """Project bounding boxes, clipped by the near plane: first column and row (2, P), and one past the last."""
        camera = view.rotation.double().T @ (self._corners - view.position[:, None])
        camera = camera.float().reshape(3, 8, -1)
        a, b = (camera.index_select(1, ends) for ends in self._edges)
        along = b - a
        share = ((NEAR - a[2]) / along[2]).nan_to_num_().clamp_(0, 1)  # onto the near plane, or to an end
        points = torch.cat((camera, a.addcmul_(along, share)), 1)
        hidden = points[2] < NEAR / 2
        image = points[:2] / points[2]
        numbers = [[[view.fx], [view.fy]], [[view.cx], [view.cy]], [[view.width], [view.height]]]
        scale, center, size = view.position.new_tensor(numbers)
        first = (image.masked_fill(hidden, torch.inf).amin(1) * scale).add_(center).sub_(0.01).floor_()
        last = (image.masked_fill(hidden, -torch.inf).amax(1) * scale).add_(center).add_(0.01).ceil_().add_(1)
        return torch.minimum(first.clamp_(min=0), size), torch.minimum(last.clamp_(min=0), size)

    def _compute_unit_rays(self, view: View) -> Tensor:
        """Compute (12, P) in the unit frames: the terms of a ray's x, y and z = 1 in its direction, and its origin."""
        pose = torch.cat((view.rotation, view.position[:, None]), 1).double()
        unit = (self._inverse @ pose).reshape(3, -1, 4)
        unit[..., 3:] -= self._origin
        return unit.permute(2, 0, 1).reshape(12, -1).float()


def trace(solids: Solids, room: Tensor, view: View, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Trace rays: depth along z (H * W,), inf for no hit, and the row hit (H * W,) int64, P + 6 for none.

    Rows P..P + 5 are the faces -x, +x, -y, +y, -z, +z of the room, the box from room[0] to room[1], from inside.
    """
    depth, met = _intersect_room(room, view, rays, len(solids))
    for pixel, entered, row in solids.find_hits(view):
        depth.scatter_reduce_(0, pixel, entered, "amin")
        nearest = torch.nonzero((entered == depth.index_select(0, pixel)) & (entered < torch.inf))[:, 0]
        pixel = pixel.index_select(0, nearest)
        met.index_fill_(0, pixel, -1).scatter_reduce_(0, pixel, row.index_select(0, nearest), "amax")
    return depth, met


def trace_depth(solids: Solids, view: View) -> Tensor:
    """Trace the depth along z (H * W,) of the nearest primitive, inf for none."""
    depth = view.position.new_full((view.height * view.width,), torch.inf)
    for pixel, entered, _ in solids.find_hits(view):
        depth.scatter_reduce_(0, pixel, entered, "amin")
    return depth


def _intersect_room(room: Tensor, view: View, rays: Tensor, first_row: int) -> tuple[Tensor, Tensor]:
    """Compute the depth and face at which rays leave the room."""
    inverse = 1 / (rays + TINY)
    middle, half = (room[0] + room[1]) / 2 - view.position, (room[1] - room[0]) / 2
    depths = (inverse.abs() * half[:, None]).addcmul_(inverse, middle[:, None])
    nearest = depths.amin(0)
    x, y, _ = depths.eq_(nearest)
    face_x, face_y, face_z = inverse.gt_(0).add_(torch.arange(0, 6, 2, device=rays.device)[:, None])
    face = face_z.lerp_(face_y, y).lerp_(face_x, x).add_(first_row).long()
    hidden = nearest <= NEAR
    return nearest.masked_fill_(hidden, torch.inf), face.masked_fill_(hidden, first_row + 6)


def _split_rows(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Split rows into ranges of about `_BATCH` rays."""
    first, rays = 0, 0
    for row, count in enumerate(counts):
        rays += count
        if rays >= _BATCH or (rays and row == len(counts) - 1):
            yield first, row + 1
            first, rays = row + 1, 0


def _enter_solids(view: View, table: Tensor, ends: Sequence[int], skipped: int) -> tuple[Tensor, Tensor]:
    """Intersect rays, given as columns of the table, whose kinds end at `ends`: pixels (n,) and entry depths (n,)."""
    width, left, top, start = table[13:]
    within = torch.arange(table.shape[1], device=table.device, dtype=table.dtype).sub_(start).add_(skipped)
    down = ((within + 0.5) / width).floor_()
    column, row = within.sub_(down * width).add_(left), down.add_(top)
    pixel = (row * view.width + column).long()
    x, y = column.sub_(view.cx).div_(view.fx), row.sub_(view.cy).div_(view.fy)
    direction = (table[:3] * x).addcmul_(table[3:6], y).add_(table[6:9])
    entered = [
        enter(kind, table[9:12, low:high], direction[:, low:high], table[12, low:high])
        for kind, low, high in zip((BOX, ELLIPSOID, FRUSTUM), (0, *ends), ends, strict=False)
        if high > low
    ]
    return pixel, torch.cat(entered)


_CORNERS = range(8)
_PAIRS = [(i, i | bit) for i in _CORNERS for bit in (1, 2, 4) if not i & bit]
_EDGES = [i for i, _ in _PAIRS], [j for _, j in _PAIRS]
