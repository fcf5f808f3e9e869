"""Tools and household things."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, make_box, make_cup, make_pole, make_slab
from moonseg3r_core.training.data.things.paints import (
    pick_plastic,
    pick_steel,
    pick_textile,
)
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, spin


def make_hammer(rng: np.random.Generator, palette: Palette) -> Piece:
    """A handle and a head."""
    grip, steel, long = palette.pick_wood(), pick_steel(palette), rng.uniform(0.2, 0.3)
    solids = [
        make_rod((0, 0, 0.016), (long, 0, 0.016), 0.012, grip),
        make_rod((long, -0.055, 0.016), (long, 0.04, 0.016), 0.016, steel),
    ]
    return make_piece("hammer", spin(rng, [*solids, make_slab(long, 0.055, 0.008, 0.024, 0.014, 0.022, steel)]))


def make_screwdriver(rng: np.random.Generator, palette: Palette) -> Piece:
    """A ribbed grip and a shaft."""
    r, grip = rng.uniform(0.011, 0.018), pick_plastic(palette)
    shaft = make_rod((0.09, 0, r), (0.09 + rng.uniform(0.06, 0.15), 0, r), 0.0035, pick_steel(palette))
    ring = make_rod((0.07, 0, r), (0.08, 0, r), r * 1.05, palette.pick_dark())
    return make_piece("screwdriver", spin(rng, [make_rod((0, 0, r), (0.09, 0, r), r, grip), ring, shaft]))


def make_pliers(rng: np.random.Generator, palette: Palette) -> Piece:
    """Pliers or scissors: two arms that cross."""
    grip, steel, open_by = palette.pick_paint(), pick_steel(palette), rng.uniform(0.012, 0.035)
    arms = [
        rod
        for s in (-1, 1)
        for rod in make_tube([(-0.12, s * open_by, 0.008), (-0.05, s * open_by, 0.008), (0, 0, 0.008)], 0.008, grip)
    ]
    jaws = [make_rod((0, 0, 0.008), (0.07, s * open_by * 0.3, 0.008), 0.008, steel, 0.4) for s in (-1, 1)]
    return make_piece("pliers", spin(rng, [*arms, *jaws, make_pole(0, 0, 0, 0.018, 0.012, steel)]))


def make_drill(rng: np.random.Generator, palette: Palette) -> Piece:
    """A body, a grip, a battery and a chuck, upright."""
    skin, dark = palette.pick_paint(), palette.pick_dark()
    solids = [
        make_slab(0, 0, 0, 0.045, 0.05, 0.035, dark), make_rod((0.01, 0, 0.04), (-0.01, 0, 0.17), 0.022, skin),
        make_rod((-0.07, 0, 0.19), (0.06, 0, 0.19), 0.032, skin), make_rod((0.06, 0, 0.19), (0.1, 0, 0.19), 0.024, dark, 0.6),
        make_rod((0.1, 0, 0.19), (0.15, 0, 0.19), 0.004, pick_steel(palette)),
    ]  # fmt: skip
    return make_piece("drill", spin(rng, solids))


def make_toolbox(rng: np.random.Generator, palette: Palette) -> Piece:
    """A box with a lid, two clasps and a handle."""
    hx, hy, height, skin = (
        rng.uniform(0.18, 0.26),
        rng.uniform(0.09, 0.13),
        rng.uniform(0.12, 0.2),
        pick_plastic(palette),
    )
    lid, dark = palette.pick_paint(), palette.pick_dark()
    clasps = [make_box(s * hx * 0.6, -hy - 0.004, height, 0.02, 0.006, 0.025, dark) for s in (-1, 1)]
    handle = make_tube(
        [(-0.08, 0, height + 0.05), (-0.07, 0, height + 0.09), (0.07, 0, height + 0.09), (0.08, 0, height + 0.05)],
        0.01,
        dark,
    )
    return make_piece(
        "toolbox",
        [
            make_slab(0, 0, 0, height, hx, hy, skin),
            make_slab(0, 0, height, height + 0.055, hx + 0.004, hy + 0.004, lid),
            *clasps,
            *handle,
        ],
    )


def make_torch(rng: np.random.Generator, palette: Palette) -> Piece:
    """A flashlight that lies."""
    r, skin = rng.uniform(0.015, 0.025), pick_plastic(palette)
    head = make_rod((0.07, 0, r * 1.6), (0.12, 0, r * 1.6), r * 1.1, skin)
    bell = make_rod((0.135, 0, r * 1.6), (0.1, 0, r * 1.6), r * 1.6, palette.pick_metal(), 0.7)
    return make_piece("flashlight", spin(rng, [make_rod((-0.07, 0, r * 1.6), (0.07, 0, r * 1.6), r, skin), head, bell]))


def make_brush(rng: np.random.Generator, palette: Palette) -> Piece:
    """A hand brush with bristles below."""
    wood, hair = palette.pick_wood(), palette.pick_fabric()
    solids = [make_slab(0, 0, 0, 0.05, 0.07, 0.022, hair), make_slab(0, 0, 0.05, 0.068, 0.08, 0.026, wood)]
    return make_piece("brush", spin(rng, [*solids, make_rod((0.07, 0, 0.058), (0.21, 0, 0.075), 0.011, wood)]))


def make_bucket(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bucket with a bow, open above."""
    r, height, skin = rng.uniform(0.1, 0.15), rng.uniform(0.2, 0.3), pick_plastic(palette)
    bow = [(r * np.cos(t), -0.2 * r * np.sin(t), height + r * 0.9 * np.sin(t)) for t in np.linspace(0, np.pi, 8)]
    dark = make_pole(0, 0, height - 0.012, height + 0.001, r * 0.92, palette.pick_dark())
    return make_piece(
        "bucket",
        spin(rng, [make_cup(0, 0, 0, height, r * 0.75, r, skin), dark, *make_tube(bow, 0.004, palette.pick_metal())]),
    )


def make_paper_roll(rng: np.random.Generator, palette: Palette) -> Piece:
    """A kitchen or toilet roll, upright, with its core."""
    r, height = rng.uniform(0.045, 0.065), float(rng.choice([0.1, 0.24]))
    paper = palette.pick_white() if rng.random() < 0.7 else pick_textile(palette)
    core = make_pole(0, 0, height - 0.012, height + 0.0006, r * 0.4, palette.pick_cardboard())
    hole = make_pole(0, 0, height - 0.012, height + 0.001, r * 0.33, palette.pick_dark())
    return make_piece("paper roll", [make_pole(0, 0, 0, height, r, paper), core, hole])


def make_watering_can(rng: np.random.Generator, palette: Palette) -> Piece:
    """A can with a long spout and a bow."""
    r, skin = rng.uniform(0.06, 0.09), pick_plastic(palette)
    spout = make_rod((r * 0.8, 0, r * 0.6), (r * 2.5, 0, r * 2.3), 0.02, skin, 0.6)
    bow = make_tube(
        [(r * 0.5, 0, r * 2), (0, 0, r * 2.7), (-r * 1.4, 0, r * 2.3), (-r * 1.5, 0, r * 1.2), (-r * 0.9, 0, r * 0.6)],
        0.009,
        skin,
    )
    return make_piece("watering can", spin(rng, [make_pole(0, 0, 0, 2 * r, r, skin, 0.85), spout, *bow]))


def make_dumbbell(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bar with a weight at each end."""
    r, skin = rng.uniform(0.04, 0.07), palette.pick_paint()
    ends = [make_rod((s * 0.06, 0, r), (s * 0.12, 0, r), r, skin) for s in (-1, 1)]
    return make_piece("dumbbell", spin(rng, [*ends, make_rod((-0.07, 0, r), (0.07, 0, r), 0.015, pick_steel(palette))]))
