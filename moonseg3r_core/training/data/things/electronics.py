"""Electronics on desks and tables."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_ball,
    make_box,
    make_cup,
    make_pole,
    make_rotation_x,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import BOX, FRUSTUM
from moonseg3r_core.training.data.things.paints import (
    UP,
    pick_page,
    pick_plastic,
    pick_steel,
    pick_text,
)
from moonseg3r_core.training.data.things.shapes import make_cable, make_piece, make_rod, make_tube, spin, turn_solids


def make_keyboard(rng: np.random.Generator, palette: Palette) -> Piece:
    """Rows of keys on a plate."""
    case, keys = pick_plastic(palette), palette.pick_dark() if rng.random() < 0.5 else palette.pick_white()
    columns, pitch = int(rng.choice([10, 14])), 0.019
    half = columns * pitch / 2 + 0.008
    caps = [
        make_slab((c - (columns - 1) / 2) * pitch, (r - 2) * pitch, 0.015, 0.022, 0.008, 0.008, keys)
        for r in range(1, 5) for c in range(columns)
    ]  # fmt: skip
    space = make_slab(0, -2 * pitch, 0.015, 0.022, 0.055, 0.008, keys)
    return make_piece("keyboard", [make_slab(0, 0, 0, 0.015, half, 0.055, case), *caps, space])


def make_mouse(rng: np.random.Generator, palette: Palette) -> Piece:
    """A computer mouse, at times with a cable."""
    skin, dark = pick_plastic(palette), palette.pick_dark()
    solids = [make_ball(0, 0, 0.01, 0.031, 0.055, 0.026, skin), make_slab(0, 0, 0, 0.01, 0.021, 0.037, skin)]
    solids.append(make_box(0, -0.03, 0.034, 0.004, 0.01, 0.004, dark))
    if rng.random() < 0.4:
        solids += turn_solids(
            make_cable(rng, 0.3, 0.0025, dark), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), (0, 0.05, 0)
        )
    return make_piece("mouse", solids)


def make_phone(rng: np.random.Generator, palette: Palette) -> Piece:
    """A phone or a tablet, its screen or its back up."""
    size = 1.0 if rng.random() < 0.65 else rng.uniform(1.8, 2.4)
    hx, hy = 0.036 * size, 0.075 * size * rng.uniform(0.85, 1.0)
    case, up = pick_plastic(palette), rng.random() < 0.7
    face = palette.pick_screen() if up else case
    lens = make_slab(-hx * 0.5, hy * 0.75, 0.009, 0.0105, 0.009, 0.012, palette.pick_dark())
    front = make_slab(0, 0, 0.009, 0.0095, hx - 0.003, hy - 0.005, face)
    return make_piece("phone", spin(rng, [make_slab(0, 0, 0, 0.009, hx, hy, case), front if up else lens]))


def make_remote(rng: np.random.Generator, palette: Palette) -> Piece:
    """A remote control or a calculator with rows of buttons."""
    hx, hy, skin = rng.uniform(0.018, 0.04), rng.uniform(0.06, 0.1), pick_plastic(palette)
    keys, rows = [palette.pick_white(), palette.pick_paint()], int(rng.integers(4, 7))
    buttons = [
        make_slab(x * hx * 0.55, hy * (0.45 - 1.2 * r / rows), 0.018, 0.021, hx * 0.17, hy * 0.06, keys[int(rng.random() < 0.2)])
        for r in range(rows) for x in (-1, 0, 1)
    ]  # fmt: skip
    display = make_slab(0, hy * 0.75, 0.018, 0.0185, hx * 0.75, hy * 0.15, palette.pick_screen())
    return make_piece("remote", spin(rng, [make_slab(0, 0, 0, 0.018, hx, hy, skin), *buttons, display]))


def make_headphones(rng: np.random.Generator, palette: Palette) -> Piece:
    """Two pads and a band that lie."""
    skin, pad, r = pick_plastic(palette), palette.pick_dark(), rng.uniform(0.07, 0.09)
    arc = [(r * np.cos(t), r * np.sin(t) * 1.15, 0.03) for t in np.linspace(0, np.pi, 9)]
    cups = [make_rod((s * (r - 0.012), -0.01, 0.036), (s * (r + 0.018), -0.01, 0.036), 0.036, skin) for s in (-1, 1)]
    pads = [make_rod((s * (r - 0.025), -0.01, 0.036), (s * (r - 0.01), -0.01, 0.036), 0.033, pad) for s in (-1, 1)]
    return make_piece("headphones", spin(rng, [*make_tube(arc, 0.009, skin), *cups, *pads]))


def make_speaker(rng: np.random.Generator, palette: Palette) -> Piece:
    """A box with two round membranes."""
    hx, hy, height = rng.uniform(0.06, 0.13), rng.uniform(0.07, 0.14), rng.uniform(0.18, 0.4)
    skin, dark = palette.pick_wood() if rng.random() < 0.5 else pick_plastic(palette), palette.pick_dark()
    membranes = [
        make_rod((0, -hy + 0.01, z * height), (0, -hy - 0.004, z * height), min(r * hx, 0.3 * height), dark)
        for z, r in ((0.35, 0.75), (0.75, 0.4))
    ]
    center = make_ball(0, -hy - 0.002, 0.35 * height, hx * 0.25, 0.012, hx * 0.25, palette.pick_metal())
    return make_piece("speaker", [make_slab(0, 0, 0, height, hx, hy, skin), *membranes, center])


def make_table_fan(rng: np.random.Generator, palette: Palette) -> Piece:
    """A fan: foot, pole, blades and a ring."""
    r, height, skin, blade = rng.uniform(0.1, 0.18), rng.uniform(0.22, 0.4), pick_plastic(palette), palette.pick_paint()
    ring = [(r * np.cos(t), -0.03, height + r * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 15)]
    blades = [
        Solid(BOX, (r * 0.45 * np.sin(t), -0.03, height + r * 0.45 * np.cos(t)), (r * 0.16, 0.004, r * 0.42), blade,
              np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0], [-np.sin(t), 0, np.cos(t)]]))
        for t in (0.3, 0.3 + 2.09, 0.3 + 4.19)
    ]  # fmt: skip
    solids = [
        make_pole(0, 0, 0, 0.025, r * 0.75, skin, 0.8),
        make_pole(0, 0, 0, height, 0.014, skin),
        make_rod((0, -0.05, height), (0, 0.06, height), 0.03, skin),
    ]
    return make_piece("fan", [*solids, *make_tube(ring, 0.006, skin), *blades])


def make_printer(rng: np.random.Generator, palette: Palette) -> Piece:
    """A wide box with a slot, a panel and paper."""
    hx, height, skin = rng.uniform(0.18, 0.25), rng.uniform(0.15, 0.28), pick_plastic(palette)
    paper = Solid(BOX, (0, 0.15, height + 0.06), (0.105, 0.002, 0.09), palette.pick_white(), make_rotation_x(-0.4))
    solids = [
        make_slab(0, 0, 0, height, hx, 0.17, skin), make_box(0, -0.17, height * 0.4, hx * 0.8, 0.003, height * 0.18, palette.pick_dark()),
        make_slab(0, -0.22, height * 0.22, height * 0.26, hx * 0.6, 0.06, skin), make_slab(hx * 0.5, -0.13, height, height + 0.006, hx * 0.35, 0.03, palette.pick_screen()),
        make_slab(0, -0.2, height * 0.26, height * 0.29, 0.1, 0.06, pick_text(palette)), paper,
    ]  # fmt: skip
    return make_piece("printer", solids)


def make_game_pad(rng: np.random.Generator, palette: Palette) -> Piece:
    """Two grips with sticks and buttons."""
    skin, dark = pick_plastic(palette), palette.pick_dark()
    grips = [make_ball(s * 0.055, -0.03, 0.022, 0.026, 0.05, 0.02, skin) for s in (-1, 1)]
    sticks = [make_pole(s * 0.03, -0.012, 0.03, 0.05, 0.01, dark) for s in (-1, 1)]
    buttons = [
        make_pole(0.06 + x, 0.01 + y, 0.03, 0.044, 0.005, palette.pick_paint())
        for x, y in ((0.012, 0), (-0.012, 0), (0, 0.012), (0, -0.012))
    ]
    return make_piece(
        "game pad", spin(rng, [make_slab(0, 0.005, 0.005, 0.04, 0.065, 0.03, skin), *grips, *sticks, *buttons])
    )


def make_device(rng: np.random.Generator, palette: Palette) -> Piece:
    """A flat device, as a router or a player, with lights and a front of another color."""
    hx, hy, height, skin = (
        rng.uniform(0.08, 0.22),
        rng.uniform(0.07, 0.15),
        rng.uniform(0.03, 0.08),
        pick_plastic(palette),
    )
    front = make_box(
        0,
        -hy,
        height / 2,
        hx * 0.85,
        0.002,
        height * 0.3,
        pick_page(palette, UP) if rng.random() < 0.3 else palette.pick_dark(),
    )
    knob = Solid(
        FRUSTUM,
        (hx * 0.7, -hy - 0.006, height / 2),
        (height * 0.2, height * 0.2, 0.008),
        pick_steel(palette),
        make_rotation_x(np.pi / 2),
    )
    aerials = (
        [make_pole(s * hx * 0.8, hy - 0.01, height, height + 0.14, 0.006, skin) for s in (-1, 1)]
        if rng.random() < 0.4
        else []
    )
    foot = make_cup(0, 0, 0, 0.004, hy * 0.7, hy * 0.7, palette.pick_dark())
    return make_piece("device", [make_slab(0, 0, 0.003, height, hx, hy, skin), front, knob, foot, *aerials])
