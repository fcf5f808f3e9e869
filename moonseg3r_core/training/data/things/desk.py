"""Stationery, cables and what lies on a desk."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_pole,
    make_rotation_x,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import BOX
from moonseg3r_core.training.data.things.paints import (
    pick_gloss,
    pick_plastic,
    pick_textile,
)
from moonseg3r_core.training.data.things.shapes import make_cable, make_piece, make_rod, make_tube, spin, turn_solids


def make_pen(rng: np.random.Generator, palette: Palette) -> Piece:
    """A pen or a pencil that lies."""
    r, half, skin = rng.uniform(0.0035, 0.007), rng.uniform(0.05, 0.075), pick_plastic(palette)
    tip = make_rod((half, 0, r), (half + 0.018, 0, r), r, palette.pick_wood(), 0.15)
    cap = make_rod((-half, 0, r), (-half + 0.03, 0, r), r * 1.15, palette.pick_paint())
    return make_piece("pen", spin(rng, [make_rod((-half, 0, r), (half, 0, r), r, skin), tip, cap]))


def make_pen_cup(rng: np.random.Generator, palette: Palette) -> Piece:
    """A cup full of pens."""
    r, height, skin = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.12), pick_textile(palette)
    pens = []
    for _ in range(int(rng.integers(3, 9))):
        angle, out = rng.uniform(0, 2 * np.pi), r * rng.uniform(0.4, 1.0)
        x, y = np.cos(angle) * out, np.sin(angle) * out
        pens.append(
            make_rod(
                (x * 0.3, y * 0.3, 0.02),
                (x * 1.3, y * 1.3, height * rng.uniform(1.25, 1.8)),
                0.0045,
                palette.pick_paint(),
            )
        )
    dark = make_pole(0, 0, height - 0.012, height + 0.0005, r * 0.9, palette.pick_dark())
    return make_piece("pen cup", [make_pole(0, 0, 0, height, r, skin), dark, *pens])


def make_power_strip(rng: np.random.Generator, palette: Palette) -> Piece:
    """A strip of sockets with its cable."""
    count, skin, dark = (
        int(rng.integers(3, 7)),
        palette.pick_white() if rng.random() < 0.7 else palette.pick_dark(),
        palette.pick_dark(),
    )
    half = 0.025 * count + 0.02
    holes = [make_pole((i - (count - 1) / 2) * 0.05, 0, 0.022, 0.0355, 0.017, dark) for i in range(count)]
    cable = turn_solids(make_cable(rng, rng.uniform(0.3, 0.8), 0.005, skin), np.eye(3), (half, 0, 0))
    return make_piece("power strip", [make_slab(0, 0, 0, 0.035, half, 0.026, skin), *holes, *cable])


def make_cord(rng: np.random.Generator, palette: Palette) -> Piece:
    """A cable with plugs that winds along the ground."""
    r, skin = rng.uniform(0.002, 0.006), pick_plastic(palette)
    solids = make_cable(rng, rng.uniform(0.4, 1.6), r, skin)
    plug = make_slab(-0.02, 0, 0, 0.016, 0.022, 0.011, palette.pick_dark())
    return make_piece("cable", spin(rng, [*solids, plug]))


def make_coil(rng: np.random.Generator, palette: Palette) -> Piece:
    """A cable in a coil."""
    r, thick, skin = rng.uniform(0.04, 0.12), rng.uniform(0.003, 0.008), pick_plastic(palette)
    turns = np.linspace(0, 2 * np.pi * 2.5, 26)
    points = [
        (r * (1 + 0.06 * i / 26) * np.cos(t), r * np.sin(t), thick * (1 + 2 * i / 26)) for i, t in enumerate(turns)
    ]
    return make_piece("cable coil", make_tube(points, thick, skin))


def make_tape(rng: np.random.Generator, palette: Palette) -> Piece:
    """A roll of tape that lies: a ring with a pale core."""
    r, height = rng.uniform(0.03, 0.06), rng.uniform(0.012, 0.05)
    core = make_pole(0, 0, 0, height + 0.0005, r * 0.6, palette.pick_cardboard())
    hole = make_pole(0, 0, 0, height + 0.001, r * 0.53, palette.pick_dark())
    return make_piece("tape", [make_pole(0, 0, 0, height, r, pick_plastic(palette)), core, hole])


def make_stapler(rng: np.random.Generator, palette: Palette) -> Piece:
    """A base and an arm that opens."""
    skin, lean = pick_plastic(palette), make_rotation_x(0.12)
    arm = Solid(BOX, (0, 0, 0.04), (0.016, 0.07, 0.013), skin, lean)
    return make_piece("stapler", spin(rng, [make_slab(0, 0, 0, 0.012, 0.018, 0.075, palette.pick_dark()), arm]))


def make_desk_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A foot, two arms and a tilted shade that is off."""
    skin, reach = pick_gloss(palette), rng.uniform(0.1, 0.2)
    low, high = rng.uniform(0.2, 0.3), rng.uniform(0.34, 0.45)
    arms = make_tube([(0, 0, 0.02), (-reach * 0.6, 0, low), (reach, 0, high)], 0.009, skin)
    shade = make_rod((reach, 0, high + 0.03), (reach + 0.07, 0, high - 0.08), 0.025, skin)
    bell = make_rod((reach + 0.1, 0, high - 0.12), (reach + 0.02, 0, high), 0.075, skin, 0.35)
    return make_piece("desk lamp", spin(rng, [make_pole(0, 0, 0, 0.02, 0.08, skin), *arms, shade, bell]))
