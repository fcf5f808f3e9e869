"""Seats, bins, racks and other large things that stand on the floor."""

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
from moonseg3r_core.synthetic.primitives import BOX
from moonseg3r_core.training.data.things.paints import (
    pick_gloss,
    pick_mirror,
    pick_plastic,
    pick_steel,
    pick_textile,
    pick_wicker,
)
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, turn_solids


def make_slat_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """A chair whose back is of upright slats."""
    h, seat, top, wood = rng.uniform(0.19, 0.23), rng.uniform(0.42, 0.47), rng.uniform(0.8, 1.05), palette.pick_wood()
    cloth, lean = pick_textile(palette) if rng.random() < 0.5 else wood, rng.uniform(0.0, 0.1)
    legs = [
        make_rod((x * h, y * h, 0), (x * h * 0.9, y * h * 0.9, seat), 0.016, wood) for x in (-1, 1) for y in (-1, 1)
    ]
    posts = [make_rod((x * h * 0.9, h * 0.9, seat), (x * h * 0.9, h * 0.9 + lean, top), 0.015, wood) for x in (-1, 1)]
    slats = [
        make_rod((x, h * 0.9, seat), (x, h * 0.9 + lean, top), 0.009, wood)
        for x in np.linspace(-0.65, 0.65, int(rng.integers(3, 8))) * h
    ]
    rail = make_box(0, h * 0.9 + lean, top, h * 0.95, 0.014, 0.03, wood)
    return make_piece(
        "slatted chair", [make_slab(0, 0, seat - 0.01, seat + 0.025, h, h, cloth), *legs, *posts, *slats, rail]
    )


def make_folding_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """A shell of plastic on thin crossing legs."""
    h, seat, skin, metal = rng.uniform(0.2, 0.23), rng.uniform(0.43, 0.47), pick_plastic(palette), palette.pick_metal()
    legs = [
        make_rod((x * h, s * h, 0), (x * h * 0.8, -s * h * 0.6, seat), 0.011, metal) for x in (-1, 1) for s in (-1, 1)
    ]
    back = Solid(BOX, (0, h + 0.03, seat + 0.24), (h * 0.95, 0.012, 0.2), skin, make_rotation_x(-0.15))
    return make_piece("chair", [make_slab(0, 0, seat, seat + 0.025, h, h, skin), back, *legs])


def make_side_table(rng: np.random.Generator, palette: Palette) -> Piece:
    """A small round table on three legs, or a box stool."""
    r, height, wood, top = rng.uniform(0.18, 0.3), rng.uniform(0.4, 0.65), palette.pick_wood(), pick_gloss(palette)
    angles = np.arange(3) * 2 * np.pi / 3
    legs = [
        make_rod(
            (r * 0.9 * np.cos(t), r * 0.9 * np.sin(t), 0),
            (r * 0.4 * np.cos(t), r * 0.4 * np.sin(t), height - 0.02),
            0.015,
            wood,
        )
        for t in angles
    ]
    return make_piece(
        "side table", [make_pole(0, 0, height - 0.025, height, r, top if rng.random() < 0.5 else wood), *legs]
    )


def make_laundry_basket(rng: np.random.Generator, palette: Palette) -> Piece:
    """A tall basket with clothes above its rim."""
    r, height = rng.uniform(0.17, 0.25), rng.uniform(0.4, 0.6)
    skin = pick_wicker(palette) if rng.random() < 0.6 else pick_textile(palette)
    cloth = [
        make_ball(
            rng.normal(0, r * 0.3), rng.normal(0, r * 0.3), height, r * 0.55, r * 0.5, 0.07, pick_textile(palette)
        )
        for _ in range(3)
    ]
    return make_piece("laundry basket", [make_cup(0, 0, 0, height, r * 0.85, r, skin), *cloth])


def make_pedal_bin(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bin with a lid and a pedal."""
    r, height, skin = (
        rng.uniform(0.1, 0.17),
        rng.uniform(0.3, 0.65),
        pick_steel(palette) if rng.random() < 0.5 else pick_plastic(palette),
    )
    dark = palette.pick_dark()
    pedal = make_slab(0, -r - 0.01, 0.01, 0.025, 0.04, 0.03, dark)
    body = (
        make_pole(0, 0, 0.02, height, r, skin)
        if rng.random() < 0.6
        else make_slab(0, 0, 0.02, height, r, r * 0.9, skin)
    )
    return make_piece(
        "pedal bin",
        [make_pole(0, 0, 0, 0.03, r * 0.97, dark), body, make_ball(0, 0, height, r * 0.98, r * 0.9, 0.04, dark), pedal],
    )


def make_ladder(rng: np.random.Generator, palette: Palette) -> Piece:
    """A step ladder."""
    height, hx, skin = rng.uniform(0.6, 1.4), rng.uniform(0.18, 0.25), pick_steel(palette)
    spread = height * 0.3
    posts = [
        make_rod((x * hx, y * spread, 0), (x * hx * 0.8, 0, height), 0.016, skin) for x in (-1, 1) for y in (-1, 1)
    ]
    steps = [
        make_box(0, -spread * (1 - z), height * z, hx * 0.95, 0.045, 0.012, palette.pick_dark())
        for z in np.arange(0.2, 1.0, 0.2)
    ]
    return make_piece("step ladder", [*posts, *steps])


def make_clothes_rack(rng: np.random.Generator, palette: Palette) -> Piece:
    """A rail on two feet with garments on it."""
    hx, height, metal = rng.uniform(0.35, 0.6), rng.uniform(1.2, 1.6), palette.pick_metal()
    posts = [make_pole(s * hx, 0, 0.02, height, 0.014, metal) for s in (-1, 1)]
    feet = [make_box(s * hx, 0, 0.015, 0.015, 0.2, 0.015, metal) for s in (-1, 1)]
    x, clothes = -hx + 0.06, []
    while x < hx - 0.06:
        half, long = rng.uniform(0.015, 0.03), rng.uniform(0.5, 0.85)
        clothes.append(
            make_slab(x, 0, height - long, height - 0.05, half, rng.uniform(0.15, 0.22), pick_textile(palette))
        )
        x += 2 * half + rng.uniform(0.005, 0.08)
    return make_piece(
        "clothes rack", [make_rod((-hx, 0, height), (hx, 0, height), 0.014, metal), *posts, *feet, *clothes]
    )


def make_floor_mirror(rng: np.random.Generator, palette: Palette) -> Piece:
    """A tall mirror in a frame that leans."""
    hx, hz, lean = rng.uniform(0.2, 0.35), rng.uniform(0.6, 0.85), make_rotation_x(-0.12)
    frame, glass = (
        make_box(0, 0, 0, hx, 0.015, hz, palette.pick_wood()),
        make_box(0, -0.015, 0, hx - 0.03, 0.002, hz - 0.03, pick_mirror(palette)),
    )
    leg = make_rod((0, hz * 0.35, -hz * 0.98), (0, 0.02, hz * 0.3), 0.014, palette.pick_wood())
    return make_piece("floor mirror", [*turn_solids([frame, glass], lean), leg])


def make_oil_radiator(rng: np.random.Generator, palette: Palette) -> Piece:
    """A heater of several fins on wheels."""
    fins, height, skin, dark = (
        int(rng.integers(6, 12)),
        rng.uniform(0.5, 0.65),
        palette.pick_white(),
        palette.pick_dark(),
    )
    ribs = [make_slab(0.045 * (i - fins / 2), 0, 0.08, height, 0.012, 0.07, skin) for i in range(fins)]
    box = make_slab(-0.045 * (fins / 2 + 1.2), 0, 0.08, height * 0.95, 0.035, 0.06, dark)
    tubes = [make_slab(0, 0, z, z + 0.05, 0.0225 * fins, 0.025, skin) for z in (0.12, height - 0.12)]
    feet = [make_box(s * 0.018 * fins, 0, 0.04, 0.02, 0.11, 0.04, dark) for s in (-1, 1)]
    return make_piece("heater", [*ribs, box, *tubes, *feet])


def make_vacuum(rng: np.random.Generator, palette: Palette) -> Piece:
    """A vacuum cleaner: a body with wheels and a hose."""
    skin, dark = pick_gloss(palette), palette.pick_dark()
    hose = make_tube(
        [(0.18, 0, 0.12), (0.3, 0.05, 0.2), (0.42, 0.15, 0.1), (0.5, 0.2, 0.025), (0.75, 0.2, 0.025)], 0.018, dark
    )
    wheels = [make_rod((-0.1, s * 0.1, 0.07), (-0.1, s * 0.13, 0.07), 0.07, dark) for s in (-1, 1)]
    return make_piece(
        "vacuum cleaner",
        [make_ball(0, 0, 0.12, 0.2, 0.12, 0.11, skin), *wheels, *hose, make_slab(0.8, 0.2, 0, 0.05, 0.05, 0.13, dark)],
    )
