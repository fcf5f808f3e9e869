"""Plants of several shapes."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_ball,
    make_cup,
    make_pole,
    make_rotation_y,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import ELLIPSOID, FRUSTUM
from moonseg3r_core.training.data.things.paints import pick_glass, pick_textile, pick_wicker
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod


def make_cactus(rng: np.random.Generator, palette: Palette) -> Piece:
    """A column or a ball with arms, in a pot."""
    r, green = rng.uniform(0.025, 0.05), palette.pick_leaf()
    pot, top = _make_pot(rng, palette, r * 1.6)
    tall = r * rng.uniform(1.2, 4.0)
    solids = [*pot, make_ball(0, 0, top + tall * 0.7, r, r, tall, green)]
    for _ in range(int(rng.integers(0, 3))):
        angle, z = rng.uniform(0, 2 * np.pi), top + tall * rng.uniform(0.5, 1.0)
        solids.append(make_ball(r * 1.1 * np.cos(angle), r * 1.1 * np.sin(angle), z, r * 0.4, r * 0.4, r * 0.8, green))
    return make_piece("cactus", solids)


def make_grass_plant(rng: np.random.Generator, palette: Palette) -> Piece:
    """Long narrow leaves that rise from a pot."""
    r, height, green = rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.7), palette.pick_leaf()
    pot, top = _make_pot(rng, palette, r)
    leaves = []
    for _ in range(int(rng.integers(8, 18))):
        yaw, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.6)
        turn, long = make_rotation_z(yaw) @ make_rotation_y(lean), height * rng.uniform(0.6, 1.0) / 2
        center = turn @ np.array([0, 0, long]) + (0, 0, top - 0.01)
        leaves.append(Solid(ELLIPSOID, tuple(center), (0.004, 0.01 + 0.02 * height, long), green, turn))
    return make_piece("grass plant", [*pot, *leaves])


def make_flowers(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bunch of flowers in a vase."""
    r, height, green, petal = (
        rng.uniform(0.035, 0.06),
        rng.uniform(0.14, 0.24),
        palette.pick_leaf(),
        palette.pick_paint(),
    )
    skin = pick_glass(palette) if rng.random() < 0.5 else palette.pick_ceramic()
    solids = [make_cup(0, 0, 0, height, r * rng.uniform(0.6, 1.2), r, skin)]
    for _ in range(int(rng.integers(4, 10))):
        angle, out, z = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.1), height * rng.uniform(1.4, 2.0)
        x, y, size = out * np.cos(angle), out * np.sin(angle), rng.uniform(0.015, 0.035)
        solids += [
            make_rod((x * 0.2, y * 0.2, height), (x, y, z), 0.003, green),
            make_ball(x, y, z, size, size, size * 0.7, petal),
        ]
    return make_piece("flowers", solids)


def make_herb(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round bush of small leaves in a pot."""
    r, green = rng.uniform(0.04, 0.09), palette.pick_leaf()
    pot, top = _make_pot(rng, palette, r)
    leaves = []
    for _ in range(int(rng.integers(14, 26))):
        away = rng.normal(size=3)
        away = away / np.linalg.norm(away) * r * rng.uniform(0.5, 1.3) + (0, 0, top + r)
        turn = make_rotation_z(rng.uniform(0, 6)) @ make_rotation_y(rng.uniform(-1, 1))
        leaves.append(Solid(ELLIPSOID, tuple(away), (r * 0.45, r * 0.35, r * 0.08), green, turn))
    return make_piece("herb", [*pot, *leaves])


def make_small_tree(rng: np.random.Generator, palette: Palette) -> Piece:
    """A trunk with balls or a cone of leaves, for the floor or a table."""
    s, green, wood = rng.uniform(0.3, 1.1), palette.pick_leaf(), palette.pick_wood()
    pot, top = _make_pot(rng, palette, 0.16 * s)
    solids = [*pot, make_pole(0, 0, top, top + 0.5 * s, 0.018 * s, wood)]
    if rng.random() < 0.4:
        solids.append(make_pole(0, 0, top + 0.25 * s, top + 1.1 * s, 0.24 * s, green, 0.1))
    else:
        for _ in range(int(rng.integers(2, 6))):
            x, y, z = rng.normal(0, 0.08 * s, 3)
            solids.append(make_ball(x, y, top + 0.6 * s + z, 0.2 * s, 0.2 * s, 0.17 * s, green))
    return make_piece("small tree", solids)


def make_hanging_plant(rng: np.random.Generator, palette: Palette) -> Piece:
    """A broad pot over whose rim twigs hang."""
    r, green = rng.uniform(0.06, 0.1), palette.pick_leaf()
    pot, top = _make_pot(rng, palette, r)
    solids = [*pot, make_ball(0, 0, top, r * 0.9, r * 0.9, r * 0.5, green)]
    for _ in range(int(rng.integers(5, 10))):
        yaw = rng.uniform(0, 2 * np.pi)
        side, drop = np.array([np.cos(yaw), np.sin(yaw), 0.0]), top * rng.uniform(0.4, 0.9)
        solids.append(make_rod(side * r * 0.9 + (0, 0, top), side * r * 1.15 + (0, 0, top - drop), 0.003, green))
        solids += [
            Solid(
                ELLIPSOID,
                tuple(side * r * 1.12 + (0, 0, top - drop * t)),
                (0.022, 0.022, 0.008),
                green,
                make_rotation_y(0.6),
            )
            for t in (0.3, 0.65, 1.0)
        ]
    return make_piece("hanging plant", solids)


def _make_pot(rng: np.random.Generator, palette: Palette, r: float) -> tuple[list[Solid], float]:
    """Make a pot with soil, and say where it ends above."""
    height, kind = r * rng.uniform(1.2, 2.2), rng.random()
    skin = palette.pick_ceramic() if kind < 0.6 else pick_wicker(palette) if kind < 0.8 else pick_textile(palette)
    soil = palette.pick_dark()
    if rng.random() < 0.25:
        return [
            make_slab(0, 0, 0, height, r, r, skin),
            make_slab(0, 0, height, height + 0.002, r * 0.9, r * 0.9, soil),
        ], height
    rim = Solid(FRUSTUM, (0, 0, height - r * 0.1), (r * 1.06, r * 1.06, r * 0.1), skin)
    return [
        make_cup(0, 0, 0, height, r * 0.7, r, skin),
        rim,
        make_pole(0, 0, height - 0.012, height + 0.002, r * 0.9, soil),
    ], height
