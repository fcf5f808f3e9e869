"""Chests, cupboards and kitchen counters, with handles, open doors and drawers."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_box,
    make_pole,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.textures import Material
from moonseg3r_core.training.data.things.paints import (
    pick_steel,
    pick_textile,
)
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, turn_solids


def make_chest(rng: np.random.Generator, palette: Palette) -> Piece:
    """A chest of drawers with handles; one drawer may be open."""
    hx, hy, height = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.26), rng.uniform(0.5, 1.1)
    body, front, metal = palette.pick_wood(), palette.pick_wood(), palette.pick_metal()
    rows, columns = int(rng.integers(2, 6)), int(rng.integers(1, 3))
    opened, step, width = int(rng.integers(2 * rows)), (height - 0.08) / rows, 2 * hx / columns
    solids = [
        make_slab(0, 0, 0.0, height, hx, hy, body),
        make_slab(0, 0, height, height + 0.02, hx + 0.012, hy + 0.012, body),
    ]
    for row in range(rows):
        for column in range(columns):
            x, z = -hx + (column + 0.5) * width, 0.05 + (row + 0.5) * step
            y = -hy - (rng.uniform(0.08, 0.2) if row == opened and column == 0 else 0.0)
            solids += _make_front(x, y, z, width / 2 - 0.006, step / 2 - 0.006, front)
            solids += _make_handle(x, y - 0.018, z, width * 0.2, metal)
            if y < -hy:
                solids.append(
                    make_slab(
                        x,
                        (y - hy) / 2,
                        z - step * 0.4,
                        z + step * 0.3,
                        width / 2 - 0.015,
                        (-hy - y) / 2,
                        pick_textile(palette),
                    )
                )
    return make_piece("chest of drawers", solids)


def make_cupboard(rng: np.random.Generator, palette: Palette) -> Piece:
    """A cupboard with framed doors, one of which may stand open before a dark inside."""
    hx, hy, height = rng.uniform(0.3, 0.6), rng.uniform(0.18, 0.28), rng.uniform(0.7, 1.9)
    body, front, metal = palette.pick_wood(), palette.pick_wood(), palette.pick_metal()
    solids = [make_slab(0, 0, 0, height, hx, hy, body)]
    for side in (-1, 1):
        half = hx / 2 - 0.005
        door = _make_front(0, 0, 0, half, height / 2 - 0.04, front)
        door += [make_box(0, -0.018, 0, half * 0.65, 0.004, height * 0.33, palette.pick_wood())]
        door += [make_box(-side * half * 0.82, -0.03, 0, 0.007, 0.012, 0.06, metal)]
        if side == 1 and rng.random() < 0.5:  # open: hinged at its outer edge
            turn = make_rotation_z(rng.uniform(0.5, 1.6))
            hinge = np.array([hx - 0.005, -hy, height / 2])
            solids += turn_solids(door, turn, tuple(hinge - turn @ np.array([half, 0, 0])))
            solids.append(make_box(hx / 2, -hy, height / 2, half, 0.002, height / 2 - 0.05, palette.pick_dark()))
            solids += [make_box(hx / 2, -hy - 0.001, height * z, half, 0.003, 0.01, body) for z in (0.33, 0.66)]
        else:
            solids += turn_solids(door, np.eye(3), (side * hx / 2, -hy, height / 2))
    return make_piece("cupboard", solids)


def make_counter(rng: np.random.Generator, palette: Palette) -> Piece:
    """A kitchen counter: fronts with handles, a worktop, a sink with a tap, or a hob."""
    units, hy, height = int(rng.integers(1, 4)), rng.uniform(0.28, 0.31), rng.uniform(0.84, 0.92)
    hx, front, metal, steel = units * 0.3, palette.pick_wood(), palette.pick_metal(), pick_steel(palette)
    top = (
        palette.pick_wood()
        if rng.random() < 0.5
        else Material("speckles", palette.pick_color(0.2), palette.pick_color(0.2), 0.02)
    )
    solids = [
        make_slab(0, 0.02, 0, height - 0.04, hx, hy - 0.02, palette.pick_white()),
        make_slab(0, 0, height - 0.04, height, hx + 0.01, hy, top),
    ]
    for unit in range(units):
        x, drawers = -hx + 0.3 + 0.6 * unit, int(rng.integers(1, 4))
        for z in range(drawers):
            step = (height - 0.16) / drawers
            middle = 0.1 + (z + 0.5) * step
            solids += _make_front(x, -hy + 0.02, middle, 0.292, step / 2 - 0.005, front)
            solids += _make_handle(x, -hy, middle + step * 0.35, 0.09, metal)
    solids += (
        _make_sink(-hx + 0.3, height, steel, palette.pick_dark())
        if rng.random() < 0.6
        else _make_hob(-hx + 0.3, height, palette)
    )
    return make_piece("kitchen counter", solids)


def _make_sink(x: float, z: float, steel: Material, dark: Material) -> list[Solid]:
    """Make a steel rim, a darker basin and a tap behind it."""
    tap = make_tube(
        [(x, 0.22, z), (x, 0.22, z + 0.24), (x, 0.16, z + 0.29), (x, 0.08, z + 0.27), (x, 0.07, z + 0.22)], 0.011, steel
    )
    shade = Material("gloss", (0.12, 0.12, 0.13), (0.4, 0.4, 0.42), 0.2)
    basin = make_slab(x, 0, z, z + 0.003, 0.2, 0.17, shade)
    lever = make_rod((x, 0.22, z + 0.1), (x + 0.06, 0.2, z + 0.13), 0.007, steel)
    return [
        make_slab(x, 0.02, z, z + 0.002, 0.25, 0.23, steel),
        basin,
        make_pole(x, 0, z - 0.01, z + 0.004, 0.03, dark),
        *tap,
        lever,
    ]


def _make_hob(x: float, z: float, palette: Palette) -> list[Solid]:
    """Make a dark plate with four rings."""
    ring = palette.pick_metal()
    rings = [make_pole(x + a * 0.13, b * 0.12, z, z + 0.0075, 0.075, ring) for a in (-1, 1) for b in (-1, 1)]
    return [make_slab(x, 0, z, z + 0.006, 0.27, 0.24, palette.pick_dark()), *rings]


def _make_front(x: float, y: float, z: float, hx: float, hz: float, material: Material) -> list[Solid]:
    return [make_box(x, y - 0.008, z, hx, 0.008, hz, material)]


def _make_handle(x: float, y: float, z: float, half: float, material: Material) -> list[Solid]:
    """Make a bar on two posts."""
    posts = [make_box(x + s * half * 0.8, y, z, 0.005, 0.014, 0.005, material) for s in (-1, 1)]
    return [make_box(x, y - 0.016, z, half, 0.006, 0.006, material), *posts]
