"""What each pixel's ray meets first: every primitive meets only the rays inside its bound in the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, NEAR, Primitives, enter

_BATCH = 1 << 18  # rays of primitives met at once


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

    def x(self) -> Tensor:
        """(W,) x of the columns' rays at z = 1."""
        return (torch.arange(self.width, device=self.position.device) - self.cx) / self.fx

    def y(self) -> Tensor:
        """(H,) y of the rows' rays at z = 1."""
        return (torch.arange(self.height, device=self.position.device) - self.cy) / self.fy

    def rays(self) -> Tensor:
        """(3, H * W) world directions of length 1 along the camera's z, by sums: a GPU may round matrix products."""
        right, down, forward = self.rotation.T[:, :, None, None]
        return (self.x() * right + self.y()[:, None] * down).add_(forward).reshape(3, -1)


def trace(primitives: Primitives, room: Tensor, view: View, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Depth along z (H * W,), inf where nothing is met, and the row met (H * W,) int64; P + 6 there.

    Rows P..P + 5 are the faces -x, +x, -y, +y, -z, +z of the room, the box from room[0] to room[1] seen from inside.
    """
    depth, met = _room(room, view, rays, len(primitives))
    bounds = image_bounds(primitives, view)
    areas = (bounds[:, 2] - bounds[:, 0]).clamp(min=0) * (bounds[:, 3] - bounds[:, 1]).clamp(min=0)
    for kind in (BOX, ELLIPSOID, FRUSTUM):
        rows = torch.nonzero((primitives.kind == kind) & (areas > 0))[:, 0]
        for batch in _batches(rows, areas):
            _meet(kind, primitives, batch, bounds[batch], view, depth, met)
    return depth, met


def image_bounds(primitives: Primitives, view: View) -> Tensor:
    """(P, 4) int64 first column and row, one past the last ones: bounding boxes before the near plane, projected."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=view.position.device)] * 3)
    offsets = (signs * primitives.half[:, None]).double() @ primitives.rotation.double().transpose(1, 2)
    corners = offsets + primitives.center[:, None] - view.position
    camera = (corners @ view.rotation.double()).float()
    a, b = camera[:, _EDGES[0]], camera[:, _EDGES[1]]
    ends = torch.cat((_cut(a, b), _cut(b, a)), dim=1)
    low, high = torch.full_like(ends[..., 2], torch.inf), torch.full_like(ends[..., 2], -torch.inf)
    seen = ends[..., 2] >= NEAR * 0.5
    u = view.fx * ends[..., 0] / ends[..., 2] + view.cx
    v = view.fy * ends[..., 1] / ends[..., 2] + view.cy
    first = torch.stack([torch.where(seen, w, low).amin(1) for w in (u, v)], -1)
    last = torch.stack([torch.where(seen, w, high).amax(1) for w in (u, v)], -1)
    size = torch.tensor([view.width, view.height], device=u.device)
    first = torch.minimum(torch.floor(first - 0.01).clamp(min=0), size)  # inf, for nothing in front, becomes empty
    last = torch.minimum((torch.ceil(last + 0.01) + 1).clamp(min=0), size)
    return torch.cat((first, last), -1).long()


def _cut(a: Tensor, b: Tensor) -> Tensor:
    """Ends a of edges a-b, moved along the edge onto the near plane where they lie behind it."""
    share = ((NEAR - a[..., 2]) / (b[..., 2] - a[..., 2])).clamp(0, 1)
    cut = a + torch.where(a[..., 2] < NEAR, torch.nan_to_num(share), 0.0)[..., None] * (b - a)
    behind = (a[..., 2] < NEAR) & (b[..., 2] < NEAR)
    return torch.where(behind[..., None], a.new_tensor([0.0, 0.0, -1.0]), cut)


def _room(room: Tensor, view: View, rays: Tensor, first_row: int) -> tuple[Tensor, Tensor]:
    """Where rays leave the room: its depth and face."""
    inverse = 1 / torch.where(rays.abs() < 1e-9, 1e-9, rays)
    middle, half = (room[0] + room[1]) / 2 - view.position, (room[1] - room[0]) / 2
    depths = (inverse.abs() * half[:, None]).addcmul_(inverse, middle[:, None])
    nearest = depths.amin(0)
    x, y = depths[:2].eq_(nearest)
    code = torch.lerp(4 - 2 * y, torch.zeros_like(x), x)  # 0, 2, 4 for x, y, z; the first of equals
    ahead = torch.where(x > 0, rays[0], torch.where(y > 0, rays[1], rays[2]))
    face = (code + (ahead > 0)).long()
    seen = nearest > NEAR
    return torch.where(seen, nearest, torch.inf), torch.where(seen, first_row + face, first_row + 6)


def _batches(rows: Tensor, areas: Tensor) -> list[Tensor]:
    """Rows in batches of about `_BATCH` rays."""
    if not len(rows):
        return []
    group = torch.cumsum(areas[rows], 0).div(_BATCH, rounding_mode="floor")
    return list(rows.split(torch.unique_consecutive(group, return_counts=True)[1].tolist()))


def _meet(
    kind: int, primitives: Primitives, rows: Tensor, bounds: Tensor, view: View, depth: Tensor, met: Tensor
) -> None:
    """Let some primitives of one kind meet their rays; nearer ones take the pixels of `depth` and `met`."""
    owner, column, row = _pixels(bounds)
    some = primitives[rows]
    inverse = some.rotation.double().transpose(1, 2) / some.half.double()[:, :, None]
    local = inverse @ view.rotation.double()
    origin = (inverse @ (view.position.double() - some.center.double())[:, :, None])[:, :, 0]
    table = torch.cat((local.flatten(1), origin, some.taper[:, None]), 1).float().T.contiguous()[:, owner]
    x, y = view.x()[column], view.y()[row]
    direction = [table[3 * i] * x + table[3 * i + 1] * y + table[3 * i + 2] for i in range(3)]
    entered = enter(kind, [table[9], table[10], table[11]], direction, table[12])
    pixel = row * view.width + column
    nearer = torch.nonzero(entered < depth[pixel])[:, 0]
    pixel, entered, owner = pixel[nearer], entered[nearer], owner[nearer]
    depth.scatter_reduce_(0, pixel, entered, "amin")
    won = entered == depth[pixel]
    pixel, winner = pixel[won], rows[owner[won]]
    met[pixel] = -1
    met.scatter_reduce_(0, pixel, winner, "amax")


def _pixels(bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pixels of rectangles (P, 4): their owner, column and row, each (pixels,) int64."""
    width = bounds[:, 2] - bounds[:, 0]
    area = width * (bounds[:, 3] - bounds[:, 1])
    owner = torch.repeat_interleave(torch.arange(len(bounds), device=bounds.device), area)
    within = torch.arange(len(owner), device=bounds.device) - (torch.cumsum(area, 0) - area)[owner]
    down = within.div(width[owner], rounding_mode="floor")
    return owner, within - down * width[owner] + bounds[owner, 0], down + bounds[owner, 1]


_CORNERS = range(8)
_PAIRS = [(i, i | bit) for i in _CORNERS for bit in (1, 2, 4) if not i & bit]
_EDGES = [i for i, _ in _PAIRS], [j for _, j in _PAIRS]
