"""Solids at any angle, and pieces whose footprint and height follow from their solids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from moonseg3r_core.synthetic.pieces import Piece, Solid, make_rotation_z
from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM
from moonseg3r_core.synthetic.textures import Material

Point = Sequence[float] | np.ndarray


def compute_reach(kind: int, half: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Compute half the extents (3,) along the world's axes of a primitive with half extents (3,), rotated (3, 3)."""
    scaled = rotation * half
    if kind == BOX:
        return np.asarray(np.abs(scaled).sum(1))
    if kind == ELLIPSOID:
        return np.asarray(np.sqrt((scaled**2).sum(1)))
    return np.asarray(np.abs(scaled[:, 2]) + np.hypot(scaled[:, 0], scaled[:, 1]))


def make_rod(a: Point, b: Point, radius: float, material: Material, taper: float = 1.0) -> Solid:
    """Make a cylinder from a to b, or a frustum: `taper` is the radius at b over the one at a."""
    start, end = np.array(a, float), np.array(b, float)
    length = float(np.linalg.norm(end - start))
    axis = (end - start) / length
    side = np.cross(axis, (1.0, 0.0, 0.0) if abs(axis[0]) < 0.9 else (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    turn = np.stack((side, np.cross(axis, side), axis), -1)
    return Solid(FRUSTUM, tuple((start + end) / 2), (radius, radius, length / 2), material, turn, taper)


def make_tube(points: Sequence[Point], radius: float, material: Material) -> list[Solid]:
    """Make rods from point to point, joined by balls."""
    rods = [make_rod(a, b, radius, material) for a, b in pairwise(points)]
    balls = [Solid(ELLIPSOID, (p[0], p[1], p[2]), (radius,) * 3, material) for p in points[1:-1]]
    return rods + balls


def make_cable(rng: np.random.Generator, length: float, radius: float, material: Material) -> list[Solid]:
    """Make a cable that winds along the ground from the origin towards +x."""
    heading, at, points = 0.0, np.zeros(2), [np.array([0.0, 0.0, radius])]
    for _ in range(10):
        heading = 0.8 * heading + rng.normal(0, 0.45)
        at = at + length / 10 * np.array([np.cos(heading), np.sin(heading)])
        points.append(np.array([*at, radius]))
    return make_tube(list(points), radius, material)


def turn_solids(solids: Iterable[Solid], turn: np.ndarray, shift: Point = (0.0, 0.0, 0.0)) -> list[Solid]:
    """Rotate solids about the origin, then shift them."""
    centers = [(s, turn @ np.array(s.center) + np.array(shift)) for s in solids]
    return [Solid(s.kind, tuple(c), s.half, s.material, turn @ s.rotation, s.taper) for s, c in centers]


def make_piece(name: str, solids: Iterable[Solid], mount: str = "stand") -> Piece:
    """Make a piece that stands on its origin, or hangs on the wall at y = 0 from z = 0 upwards."""
    parts = list(solids)
    low, high = compute_bounds(parts)
    middle = (low + high) / 2
    shift = np.array([-middle[0], -high[1] if mount == "wall" else -middle[1], -low[2]])
    moved = tuple(turn_solids(parts, np.eye(3), tuple(shift)))
    size = high - low
    depth = size[1] if mount == "wall" else size[1] / 2
    return Piece(name, moved, (float(size[0] / 2), float(depth)), float(size[2]), mount=mount)


def compute_bounds(solids: Sequence[Solid]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lowest and highest coordinates (3,) of solids."""
    centers = np.array([s.center for s in solids])
    reach = np.array([compute_reach(s.kind, np.array(s.half), s.rotation) for s in solids])
    return (centers - reach).min(0), (centers + reach).max(0)


def move_piece(piece: Piece, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Piece:
    """Move a piece within the frame of a group; its solids move, its origin stays."""
    return replace(piece, solids=tuple(turn_solids(piece.solids, make_rotation_z(yaw), (x, y, z))))


def spin(rng: np.random.Generator, solids: Iterable[Solid]) -> list[Solid]:
    """Rotate solids about z by a random angle."""
    return turn_solids(solids, make_rotation_z(float(rng.uniform(0, 2 * np.pi))))
