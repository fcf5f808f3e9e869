"""Toys and ornaments."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, make_ball, make_box, make_cup, make_pole, make_slab
from moonseg3r_core.training.data.things.paints import (
    UP,
    pick_gloss,
    pick_page,
    pick_plastic,
    pick_textile,
    pick_wicker,
)
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, spin


def make_teddy(rng: np.random.Generator, palette: Palette) -> Piece:
    """A soft bear: belly, head, ears, limbs, snout."""
    s, fur, pale, dark = rng.uniform(0.6, 1.6), pick_textile(palette), palette.pick_white(), palette.pick_dark()
    ears = [make_ball(x * 0.05 * s, 0, 0.24 * s, 0.02 * s, 0.012 * s, 0.02 * s, fur) for x in (-1, 1)]
    eyes = [make_ball(x * 0.02 * s, -0.048 * s, 0.205 * s, 0.006 * s, 0.006 * s, 0.006 * s, dark) for x in (-1, 1)]
    limbs = [make_ball(x * 0.055 * s, -0.06 * s, 0.025 * s, 0.025 * s, 0.06 * s, 0.025 * s, fur) for x in (-1, 1)]
    limbs += [make_ball(x * 0.085 * s, -0.02 * s, 0.12 * s, 0.045 * s, 0.022 * s, 0.022 * s, fur) for x in (-1, 1)]
    body = [
        make_ball(0, 0, 0.08 * s, 0.07 * s, 0.06 * s, 0.08 * s, fur),
        make_ball(0, 0, 0.2 * s, 0.055 * s, 0.05 * s, 0.05 * s, fur),
    ]
    snout = make_ball(0, -0.045 * s, 0.185 * s, 0.02 * s, 0.018 * s, 0.016 * s, pale)
    return make_piece("teddy", spin(rng, [*body, snout, *ears, *eyes, *limbs]))


def make_toy_car(rng: np.random.Generator, palette: Palette) -> Piece:
    """A body, a cabin with windows, four wheels."""
    s, paint, dark = rng.uniform(0.5, 2.0), pick_gloss(palette), palette.pick_dark()
    wheels = [
        make_rod((x * 0.04 * s, y * 0.022 * s, 0.013 * s), (x * 0.04 * s, y * 0.034 * s, 0.013 * s), 0.013 * s, dark)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    solids = [
        make_slab(0, 0, 0.01 * s, 0.034 * s, 0.07 * s, 0.03 * s, paint), make_slab(-0.008 * s, 0, 0.034 * s, 0.058 * s, 0.035 * s, 0.026 * s, paint),
        make_slab(-0.008 * s, 0, 0.038 * s, 0.053 * s, 0.0355 * s, 0.022 * s, dark), make_slab(-0.008 * s, 0, 0.038 * s, 0.053 * s, 0.028 * s, 0.0265 * s, dark),
    ]  # fmt: skip
    return make_piece("toy car", spin(rng, [*solids, *wheels]))


def make_block(rng: np.random.Generator, palette: Palette) -> Piece:
    """One building block, a cube, a bar or a cone."""
    half, paint, kind = rng.uniform(0.015, 0.03), palette.pick_paint(), rng.random()
    if kind < 0.25:
        return make_piece("block", [make_pole(0, 0, 0, 2 * half, half, paint, float(rng.choice([0.05, 1.0])))])
    skin = paint if kind < 0.7 else pick_page(palette, UP, (0.02, 0.04))
    return make_piece(
        "block", spin(rng, [make_slab(0, 0, 0, 2 * half, half * float(rng.choice([1.0, 2.0])), half, skin)])
    )


def make_duck(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bath duck or another small animal: body, head, beak, tail."""
    s, skin, beak = rng.uniform(0.7, 1.6), palette.pick_paint(), palette.pick_paint()
    solids = [
        make_ball(0, 0, 0.03 * s, 0.05 * s, 0.036 * s, 0.03 * s, skin), make_ball(0.03 * s, 0, 0.07 * s, 0.026 * s, 0.024 * s, 0.024 * s, skin),
        make_ball(0.06 * s, 0, 0.067 * s, 0.014 * s, 0.011 * s, 0.005 * s, beak), make_rod((-0.03 * s, 0, 0.035 * s), (-0.062 * s, 0, 0.06 * s), 0.015 * s, skin, 0.1),
        *[make_ball(0.047 * s, y * 0.015 * s, 0.077 * s, 0.004, 0.004, 0.004, palette.pick_dark()) for y in (-1, 1)],
    ]  # fmt: skip
    return make_piece("toy animal", spin(rng, solids))


def make_basket(rng: np.random.Generator, palette: Palette) -> Piece:
    """A basket of straw, wire or plastic with a rim, handles and a dark inside."""
    hx, hy, height = rng.uniform(0.1, 0.25), rng.uniform(0.08, 0.18), rng.uniform(0.1, 0.32)
    skin = pick_wicker(palette) if rng.random() < 0.7 else pick_plastic(palette)
    t = 0.012
    sides = [make_slab(s * (hx - t), 0, 0, height, t, hy, skin) for s in (-1, 1)]
    sides += [make_slab(0, s * (hy - t), 0, height, hx, t, skin) for s in (-1, 1)]
    ears = [
        make_tube(
            [
                (s * hx, -0.05, height - 0.02),
                (s * hx, -0.04, height + 0.04),
                (s * hx, 0.04, height + 0.04),
                (s * hx, 0.05, height - 0.02),
            ],
            0.01,
            skin,
        )
        for s in (-1, 1)
    ]
    content = make_ball(0, 0, height * 0.6, hx * 0.8, hy * 0.8, height * rng.uniform(0.1, 0.35), pick_textile(palette))
    solids = [
        make_slab(0, 0, 0, height * 0.6, hx - t, hy - t, palette.pick_dark()),
        *sides,
        *[r for ear in ears for r in ear],
    ]
    return make_piece("basket", [*solids, content] if rng.random() < 0.6 else solids)


def make_globe(rng: np.random.Generator, palette: Palette) -> Piece:
    """A printed ball on a foot."""
    r = rng.uniform(0.09, 0.14)
    foot, print_ = palette.pick_wood(), palette.pick_print()
    arc = [(r * 1.12 * np.cos(t), 0, r * 1.5 + r * 1.12 * np.sin(t)) for t in np.linspace(-np.pi / 2, np.pi / 2, 8)]
    solids = [
        make_pole(0, 0, 0, 0.02, r * 0.7, foot),
        make_pole(0, 0, 0, r * 0.45, 0.015, foot),
        make_ball(0, 0, r * 1.5, r, r, r, print_),
    ]
    return make_piece("globe", spin(rng, [*solids, *make_tube(arc, 0.006, palette.pick_metal())]))


def make_figurine(rng: np.random.Generator, palette: Palette) -> Piece:
    """A statue or a game piece, turned on a lathe."""
    glaze, z, solids = palette.pick_ceramic() if rng.random() < 0.6 else pick_gloss(palette), 0.0, []
    for _ in range(int(rng.integers(3, 6))):
        r, h = rng.uniform(0.015, 0.05), rng.uniform(0.02, 0.06)
        solids.append(
            make_ball(0, 0, z + h, r, r, h, glaze)
            if rng.random() < 0.5
            else make_cup(0, 0, z, z + h * 1.5, r, rng.uniform(0.01, 0.05), glaze)
        )
        z += h * 1.3
    foot = make_box(0, 0, 0.008, 0.045, 0.045, 0.008, palette.pick_wood())
    return make_piece("figurine", [foot, *solids])
