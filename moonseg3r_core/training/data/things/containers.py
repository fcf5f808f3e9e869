"""Bottles, jars, tins and food."""

from __future__ import annotations

import colorsys

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_ball,
    make_box,
    make_cup,
    make_pole,
    make_rotation_y,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import ELLIPSOID
from moonseg3r_core.synthetic.textures import Material
from moonseg3r_core.training.data.things.paints import UP, pick_glass, pick_gloss, pick_page, pick_plastic, pick_textile
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, spin, turn_solids


def make_wine_bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A long neck, a label, a foil; it lies at times."""
    r, height, glass = rng.uniform(0.034, 0.042), rng.uniform(0.28, 0.34), pick_glass(palette)
    shoulder = height * rng.uniform(0.55, 0.68)
    solids = [
        make_pole(0, 0, 0, shoulder, r, glass), make_ball(0, 0, shoulder, r, r, r * 1.2, glass),
        make_pole(0, 0, shoulder, height - 0.05, r * 0.42, glass), make_pole(0, 0, height - 0.05, height, r * 0.44, palette.pick_paint()),
        make_pole(0, 0, shoulder * 0.25, shoulder * 0.8, r + 0.0008, pick_page(palette, UP)),
    ]  # fmt: skip
    if rng.random() < 0.12:
        solids = turn_solids(solids, make_rotation_y(np.pi / 2))
    return make_piece("wine bottle", solids)


def make_squeeze_bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A flat bottle, as of shampoo or soap, with a label."""
    hx, hy, height, skin = (
        rng.uniform(0.028, 0.05),
        rng.uniform(0.016, 0.028),
        rng.uniform(0.12, 0.26),
        pick_plastic(palette),
    )
    body = [make_slab(0, 0, 0, height * 0.75, hx, hy, skin), make_ball(0, 0, height * 0.75, hx, hy, height * 0.1, skin)]
    label = make_box(0, 0, height * 0.4, hx * 0.8, hy + 0.0008, height * 0.2, pick_page(palette, UP))
    cap = make_pole(0, 0, height * 0.8, height, hy * 0.7, palette.pick_paint())
    return make_piece("squeeze bottle", [*body, label, cap])


def make_spray_bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bottle with a trigger head."""
    r, height, skin = rng.uniform(0.034, 0.045), rng.uniform(0.15, 0.2), pick_plastic(palette)
    head = palette.pick_paint()
    solids = [
        make_pole(0, 0, 0, height, r, skin), make_pole(0, 0, height, height + 0.03, r, skin, 0.4), make_pole(0, 0, height + 0.03, height + 0.06, 0.013, head),
        make_box(-0.02, 0, height + 0.07, 0.045, 0.013, 0.014, head), make_rod((-0.035, 0, height + 0.06), (-0.05, 0, height + 0.01), 0.006, head),
        make_pole(0, 0, height * 0.25, height * 0.8, r + 0.0008, pick_page(palette, UP)),
    ]  # fmt: skip
    return make_piece("spray bottle", spin(rng, solids))


def make_pump_bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A soap dispenser."""
    r, height, skin, pump = rng.uniform(0.028, 0.04), rng.uniform(0.1, 0.16), pick_plastic(palette), pick_gloss(palette)
    solids = [
        make_pole(0, 0, 0, height, r, skin), make_pole(0, 0, height, height + 0.015, r * 0.55, pump),
        make_pole(0, 0, height, height + 0.05, 0.005, pump), make_box(-0.015, 0, height + 0.05, 0.03, 0.009, 0.006, pump),
    ]  # fmt: skip
    return make_piece("soap dispenser", spin(rng, solids))


def make_jar(rng: np.random.Generator, palette: Palette) -> Piece:
    """A jar with a lid and a label."""
    r, height, skin = rng.uniform(0.03, 0.06), rng.uniform(0.07, 0.18), pick_glass(palette)
    solids = [
        make_pole(0, 0, 0, height, r, skin), make_pole(0, 0, height, height + 0.018, r * 0.92, palette.pick_paint()),
        make_pole(0, 0, height * 0.2, height * 0.75, r + 0.0008, pick_page(palette, UP)),
    ]  # fmt: skip
    return make_piece("jar", solids)


def make_can(rng: np.random.Generator, palette: Palette) -> Piece:
    """A tin of food or a can of a drink."""
    r, height = rng.uniform(0.026, 0.05), rng.uniform(0.06, 0.17)
    rims = [make_pole(0, 0, z, z + 0.004, r + 0.001, palette.pick_metal()) for z in (0, height)]
    return make_piece("can", [make_pole(0, 0, 0.002, height + 0.002, r, pick_page(palette, UP, (0.01, 0.04))), *rims])


def make_canister(rng: np.random.Generator, palette: Palette) -> Piece:
    """A storage box with a lid of another color."""
    hx, hy, height = rng.uniform(0.05, 0.14), rng.uniform(0.05, 0.1), rng.uniform(0.06, 0.18)
    lid = make_slab(0, 0, height, height + 0.015, hx + 0.004, hy + 0.004, pick_plastic(palette))
    return make_piece("canister", [make_slab(0, 0, 0, height, hx, hy, pick_plastic(palette)), lid])


def make_fruit(rng: np.random.Generator, palette: Palette) -> Piece:
    """An apple, an orange, a lemon or a pear."""
    r, skin = rng.uniform(0.028, 0.045), _pick_skin(palette)
    tall, kind = r * rng.uniform(0.85, 1.05), rng.random()
    solids = [make_ball(0, 0, tall, r, r, tall, skin)]
    if kind < 0.3:
        solids.append(make_ball(0, 0, tall * 2, r * 0.6, r * 0.6, r * 0.8, skin))  # a pear
    if kind < 0.7:
        top = 2 * tall + (r * 0.7 if kind < 0.3 else -0.004)
        solids.append(make_pole(0, 0, top, top + 0.016, 0.002, palette.pick_dark()))
    return make_piece("fruit", solids)


def make_banana(rng: np.random.Generator, palette: Palette) -> Piece:
    """One to four bananas that hang together."""
    skin, solids = _pick_skin(palette, (0.11, 0.19)), []
    for i in range(int(rng.integers(1, 5))):
        x = 0.032 * i
        for at, turn in ((-0.05, 0.45), (0.0, 0.0), (0.05, -0.45)):
            pose = make_rotation_y(np.pi / 2 - turn)
            solids.append(Solid(ELLIPSOID, (at, x, 0.018 + abs(at) * 0.25), (0.016, 0.016, 0.04), skin, pose))
    return make_piece("banana", spin(rng, solids))


def make_bread(rng: np.random.Generator, palette: Palette) -> Piece:
    """A loaf, or a long one."""
    long, crust = rng.uniform(0.08, 0.26), _pick_skin(palette, (0.06, 0.1))
    wide, tall = rng.uniform(0.035, 0.06), rng.uniform(0.03, 0.055)
    pale = Material("plain", (0.5 + 0.5 * crust.a[0], 0.5 + 0.5 * crust.a[1], 0.5 + 0.5 * crust.a[2]), crust.a)
    cuts = [make_ball(x, 0, tall * 1.6, 0.007, wide * 0.5, tall * 0.33, pale) for x in np.linspace(-0.6, 0.6, 4) * long]
    return make_piece("bread", spin(rng, [make_ball(0, 0, tall, long, wide, tall, crust), *cuts]))


def make_bag_of_food(rng: np.random.Generator, palette: Palette) -> Piece:
    """A soft printed bag, as of crisps, that lies or stands."""
    hx, height, skin = rng.uniform(0.06, 0.1), rng.uniform(0.16, 0.28), pick_page(palette, UP, (0.012, 0.05))
    skin = skin if rng.random() < 0.7 else pick_textile(palette)
    solids = [
        make_ball(0, 0, height / 2, hx, 0.04, height * 0.52, skin), make_slab(0, 0, 0, height * 0.6, hx * 0.85, 0.02, skin),
        make_slab(0, 0, height * 0.9, height, hx * 0.9, 0.003, skin),
    ]  # fmt: skip
    return make_piece("bag of food", solids)


def make_open_bowl(rng: np.random.Generator, palette: Palette) -> Piece:
    """A shallow bowl whose rim stands around a lower ground."""
    r, height, glaze = rng.uniform(0.09, 0.16), rng.uniform(0.05, 0.08), palette.pick_ceramic()
    rim = []
    for angle in np.linspace(0, 2 * np.pi, 17)[:-1]:
        ends = [(r * 0.97 * np.cos(t), r * 0.97 * np.sin(t), height) for t in (angle, angle + np.pi / 8)]
        rim.append(make_rod(ends[0], ends[1], 0.007, glaze))
    return make_piece("bowl", [make_cup(0, 0, 0, height * 0.97, r * 0.5, r, glaze), *rim])


def make_candle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A candle, thick or in a holder."""
    r, height = rng.uniform(0.01, 0.04), rng.uniform(0.06, 0.22)
    holder = make_pole(0, 0, 0, 0.012, max(r * 1.5, 0.03), pick_gloss(palette))
    wick = make_pole(0, 0, height, height + 0.012, 0.0015, palette.pick_dark())
    return make_piece("candle", [holder, make_pole(0, 0, 0.01, height, r, palette.pick_paint()), wick])


def _pick_skin(palette: Palette, hues: tuple[float, float] = (0.0, 0.33)) -> Material:
    """Pick a mottled natural color."""
    color = colorsys.hsv_to_rgb(
        palette.rng.uniform(*hues), palette.rng.uniform(0.6, 0.95), palette.rng.uniform(0.25, 0.8)
    )
    other = (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6)
    return Material("clouds", color, other, 0.05, offset=float(palette.rng.uniform(0, 20)))
