"""Parts of furniture: solids in a piece's frame, and surfaces where other things may stand.

A piece stands on its origin: z up, its back towards +y, its front towards -y. Metres, radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM
from moonseg3r_core.synthetic.textures import Material


@dataclass(frozen=True, eq=False)
class Solid:
    """One primitive of a piece: kind, center (3,), half extents (3,), material, rotation (3, 3), taper."""

    kind: int
    center: tuple[float, float, float]
    half: tuple[float, float, float]
    material: Material
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    taper: float = 1.0


@dataclass(frozen=True)
class Surface:
    """A rectangle around (x, y) at height z with free height `clearance`, for about 2 * `crowd` things of `kinds`."""

    x: float
    y: float
    half_x: float
    half_y: float
    z: float
    clearance: float
    kinds: tuple[str, ...]
    crowd: float = 0.5


@dataclass(frozen=True)
class Light:
    """A point light of a lamp, in the piece's frame; `power` is a share of the room's light."""

    position: tuple[float, float, float]
    power: float


@dataclass(frozen=True, eq=False)
class Piece:
    """An object: its name, solids, the half extents (x, y) of its footprint, its height, surfaces and light.

    mount: `stand` (half extents around the origin, upwards from it), `wall` (half width and whole depth: its back is
    at y = 0) or `ceiling` (hangs downwards from the origin).
    """

    name: str
    solids: tuple[Solid, ...]
    half: tuple[float, float]
    height: float
    surfaces: tuple[Surface, ...] = ()
    light: Light | None = None
    mount: str = "stand"


def make_box(x: float, y: float, z: float, hx: float, hy: float, hz: float, material: Material) -> Solid:
    """Make a box around (x, y, z)."""
    return Solid(BOX, (x, y, z), (hx, hy, hz), material)


def make_slab(x: float, y: float, low: float, high: float, hx: float, hy: float, material: Material) -> Solid:
    """Make a box between two heights."""
    return Solid(BOX, (x, y, (low + high) / 2), (hx, hy, (high - low) / 2), material)


def make_ball(x: float, y: float, z: float, hx: float, hy: float, hz: float, material: Material) -> Solid:
    """Make an ellipsoid around (x, y, z)."""
    return Solid(ELLIPSOID, (x, y, z), (hx, hy, hz), material)


def make_pole(
    x: float, y: float, low: float, high: float, radius: float, material: Material, top: float = 1.0
) -> Solid:
    """Make an upright cylinder between two heights, or a frustum: `top` is the radius above over the radius below."""
    return Solid(FRUSTUM, (x, y, (low + high) / 2), (radius, radius, (high - low) / 2), material, taper=top)


def make_cup(x: float, y: float, low: float, high: float, lower: float, upper: float, material: Material) -> Solid:
    """Make an upright frustum by its two radii; the greater may be above."""
    if upper <= lower:
        return make_pole(x, y, low, high, lower, material, upper / lower)
    flipped = make_rotation_x(np.pi)
    return Solid(FRUSTUM, (x, y, (low + high) / 2), (upper, upper, (high - low) / 2), material, flipped, lower / upper)


def make_rotation_z(yaw: float) -> np.ndarray:
    """Make the rotation (3, 3) about z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def make_rotation_x(angle: float) -> np.ndarray:
    """Make the rotation (3, 3) about x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def make_rotation_y(angle: float) -> np.ndarray:
    """Make the rotation (3, 3) about y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
