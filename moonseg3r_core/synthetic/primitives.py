"""Solid primitives and their intersections with rays: boxes, ellipsoids and frusta, scaled and rotated unit solids.

In its unit frame a box is [-1, 1]^3, an ellipsoid the unit ball, and a frustum the solid of radius 1 at z = -1
and `taper` at z = 1 (taper 1: a cylinder, 0: a cone). A ray enters a unit solid at the same parameter as in the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

BOX, ELLIPSOID, FRUSTUM = 0, 1, 2
NEAR = 1e-3  # metres; nearer surfaces are not rendered
TINY = 1e-20  # added to a ray's direction before it divides
RIM = 1e-4  # half lengths; hits nearer to the end of a frustum belong to the cap


@dataclass(frozen=True)
class Part:
    """One primitive in plain numbers: kind, center (3,), half extents (3,), rotation (3, 3) world_from_part. Metres."""

    kind: int
    center: np.ndarray
    half: np.ndarray
    rotation: np.ndarray
    material: int
    object_id: int
    taper: float = 1.0


@dataclass(frozen=True, eq=False)
class Primitives:
    """All primitives of a scene as tensors of P rows.

    kind (P,) int64; center, half (P, 3) float32 metres; rotation (P, 3, 3) float32 world_from_part; taper (P,) float32;
    material (P,) int64, rows of the scene's materials; object_id (P,) int32.
    """

    kind: Tensor
    center: Tensor
    half: Tensor
    rotation: Tensor
    taper: Tensor
    material: Tensor
    object_id: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def to(self, device: torch.device | str) -> Primitives:
        """Copy to a device."""
        return Primitives(*(getattr(self, f.name).to(device) for f in fields(self)))

    def __getitem__(self, rows: Tensor) -> Primitives:
        return Primitives(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def from_parts(cls, parts: Sequence[Part]) -> Primitives:
        """Stack parts; none gives an empty scene."""
        shapes = {"center": (-1, 3), "half": (-1, 3), "rotation": (-1, 3, 3), "taper": (-1,)}
        stacked = {n: np.array([getattr(p, n) for p in parts], np.float32).reshape(s) for n, s in shapes.items()}
        return cls(
            kind=torch.tensor([p.kind for p in parts], dtype=torch.int64),
            material=torch.tensor([p.material for p in parts], dtype=torch.int64),
            object_id=torch.tensor([p.object_id for p in parts], dtype=torch.int32),
            **{name: torch.tensor(rows) for name, rows in stacked.items()},
        )


def enter(kind: int, origin: Tensor, direction: Tensor, taper: Tensor) -> Tensor:
    """Compute where rays (3, N) in the unit frame enter a unit solid of `kind`: parameters (N,), inf for a miss.

    A ray that starts inside a solid misses it.
    """
    if kind == BOX:
        return _drop_misses(*_intersect_box(origin, direction))
    # From the point nearest to the center all numbers are small: float32 suffices for a thin, distant pole.
    shift = -_dot(origin, direction) / _dot(direction, direction)
    nearest = origin + shift * direction
    low, high = (_intersect_ball if kind == ELLIPSOID else _intersect_frustum)(nearest, direction, taper)
    return _drop_misses(low + shift, high + shift)


def _intersect_box(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / (direction + TINY)
    middle, reach = origin * inverse, inverse.abs()
    return -(middle + reach).amin(0), (reach - middle).amin(0)


def _intersect_ball(origin: Tensor, direction: Tensor, _taper: Tensor) -> tuple[Tensor, Tensor]:
    reach = torch.sqrt((1 - _dot(origin, origin)) / _dot(direction, direction))  # NaN for a miss
    return -reach, reach


def _intersect_frustum(origin: Tensor, direction: Tensor, taper: Tensor) -> tuple[Tensor, Tensor]:
    """Intersect x^2 + y^2 <= (m + s z)^2, |z| <= 1, which is convex: the radius m + s z is never negative."""
    (x, y, z), (dx, dy, dz) = origin, direction
    middle, slope = (1 + taper) / 2, (taper - 1) / 2
    radius, change = middle + slope * z, slope * dz
    a = dx * dx + dy * dy - change * change
    a = torch.where(a.abs() < 1e-9, 1e-9, a)  # along the axis, or along the slant
    b = x * dx + y * dy - radius * change
    c = x * x + y * y - radius * radius
    root = torch.sqrt((b * b - a * c).clamp(min=0))
    one, two = (-b - root) / a, (-b + root) / a
    inverse = 1 / torch.where(dz.abs() < 1e-12, 1e-12, dz)
    bottom, top = -z * inverse - inverse.abs(), -z * inverse + inverse.abs()
    first, last = torch.minimum(one, two), torch.maximum(one, two)
    # a < 0: the ray runs inside the cone's opening, outside the interval between the roots; one nappe is in |z| <= 1.
    grows = change > 0  # the radius grows along the ray: the real nappe lies behind the later root
    inside_low = torch.where(grows, torch.maximum(last, bottom), bottom)
    inside_high = torch.where(grows, top, torch.minimum(first, top))
    low = torch.where(a > 0, torch.maximum(first, bottom), inside_low)
    high = torch.where(a > 0, torch.minimum(last, top), inside_high)
    is_miss = (a > 0) & (b * b - a * c < 0)
    return torch.where(is_miss, torch.inf, low), torch.where(is_miss, -torch.inf, high)


def _drop_misses(low: Tensor, high: Tensor) -> Tensor:
    return torch.where((high >= low) & (low > NEAR), low, torch.inf)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
