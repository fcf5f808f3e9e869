"""Dishes, cutlery and pots."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, make_ball, make_box, make_cup, make_pole, make_slab
from moonseg3r_core.training.data.things.paints import UP, pick_glass, pick_gloss, pick_page, pick_plastic, pick_steel
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, spin


def make_plate(rng: np.random.Generator, palette: Palette) -> Piece:
    """One plate with a rim, at times of another color within."""
    r, glaze = rng.uniform(0.07, 0.14), palette.pick_ceramic()
    inner = palette.pick_paint() if rng.random() < 0.3 else glaze
    solids = [make_cup(0, 0, 0, 0.016, r * 0.6, r, glaze), make_pole(0, 0, 0.006, 0.0164, r * 0.68, inner)]
    return make_piece("plate", solids)


def make_plate_pile(rng: np.random.Generator, palette: Palette) -> Piece:
    """Plates or bowls in a stack."""
    r, glaze, step = rng.uniform(0.07, 0.14), palette.pick_ceramic(), rng.uniform(0.008, 0.025)
    solids = [
        make_cup(0, 0, i * step, i * step + 0.016 + step, r * 0.6, r, glaze) for i in range(int(rng.integers(2, 9)))
    ]
    return make_piece("pile of plates", solids)


def make_wine_glass(rng: np.random.Generator, palette: Palette) -> Piece:
    """A foot, a stem and a bowl."""
    r, height, glass = rng.uniform(0.025, 0.042), rng.uniform(0.14, 0.22), pick_glass(palette)
    solids = [
        make_pole(0, 0, 0, 0.004, r * 0.9, glass), make_pole(0, 0, 0, height * 0.5, 0.004, glass),
        make_ball(0, 0, height * 0.62, r, r, height * 0.16, glass),
        make_cup(0, 0, height * 0.62, height, r, r * rng.uniform(0.75, 1.0), glass),
    ]  # fmt: skip
    return make_piece("wine glass", solids)


def make_tumbler(rng: np.random.Generator, palette: Palette) -> Piece:
    """A glass or a paper cup, with a drink."""
    r, height = rng.uniform(0.028, 0.042), rng.uniform(0.07, 0.15)
    skin = pick_glass(palette) if rng.random() < 0.6 else pick_page(palette, UP)
    drink = make_pole(0, 0, height - 0.012, height + 0.0006, r * 0.88, palette.pick_paint())
    return make_piece("tumbler", [make_cup(0, 0, 0, height, r * rng.uniform(0.7, 1.0), r, skin), drink])


def make_fork(rng: np.random.Generator, palette: Palette) -> Piece:
    """A handle, a neck and four tines."""
    steel, length = pick_steel(palette), rng.uniform(0.08, 0.11)
    tines = [make_slab(x, length + 0.03, 0.002, 0.006, 0.0016, 0.028, steel) for x in (-0.009, -0.003, 0.003, 0.009)]
    solids = [
        make_slab(0, 0, 0, 0.004, 0.006, length * 0.7, steel),
        make_slab(0, length * 0.8, 0, 0.006, 0.0035, 0.025, steel),
    ]
    return make_piece("fork", spin(rng, [*solids, make_slab(0, length, 0.002, 0.006, 0.011, 0.012, steel), *tines]))


def make_knife(rng: np.random.Generator, palette: Palette) -> Piece:
    """A blade and a handle."""
    blade, length = pick_steel(palette), rng.uniform(0.08, 0.16)
    grip = blade if rng.random() < 0.4 else palette.pick_dark() if rng.random() < 0.5 else palette.pick_wood()
    solids = [
        make_slab(0, -0.05, 0, 0.012, 0.009, 0.055, grip),
        make_slab(0.002, length / 2, 0.003, 0.006, 0.011, length / 2, blade),
    ]
    return make_piece("knife", spin(rng, solids))


def make_spoon(rng: np.random.Generator, palette: Palette) -> Piece:
    """A small or a cooking spoon."""
    size = rng.uniform(0.7, 1.8)
    skin = pick_steel(palette) if size < 1.1 else palette.pick_wood()
    solids = [make_slab(0, 0, 0.001, 0.006, 0.004 * size, 0.06 * size, skin)]
    solids.append(make_ball(0, 0.08 * size, 0.006, 0.018 * size, 0.026 * size, 0.006, skin))
    return make_piece("spoon", spin(rng, solids))


def make_pot(rng: np.random.Generator, palette: Palette) -> Piece:
    """A saucepan with two handles and a lid."""
    r, height, skin = rng.uniform(0.07, 0.14), rng.uniform(0.07, 0.16), pick_steel(palette)
    skin = skin if rng.random() < 0.6 else pick_gloss(palette)
    dark = palette.pick_dark()
    ears = [make_box(s * (r + 0.018), 0, height * 0.8, 0.02, 0.03, 0.006, dark) for s in (-1, 1)]
    lid = [
        make_ball(0, 0, height, r * 0.98, r * 0.98, 0.03, skin),
        make_pole(0, 0, height + 0.02, height + 0.05, 0.014, dark),
    ]
    if rng.random() < 0.4:
        lid = [make_pole(0, 0, height - 0.012, height + 0.0008, r * 0.93, dark)]
    return make_piece("pot", [make_pole(0, 0, 0, height, r, skin), *ears, *lid])


def make_pan(rng: np.random.Generator, palette: Palette) -> Piece:
    """A frying pan with a long handle."""
    r, skin = rng.uniform(0.09, 0.15), palette.pick_dark()
    inner = make_pole(0, 0, 0.028, 0.0406, r * 0.9, pick_steel(palette) if rng.random() < 0.5 else palette.pick_dark())
    handle = make_rod(
        (r * 0.95, 0, 0.032), (r + 0.18, 0, 0.05), 0.011, palette.pick_wood() if rng.random() < 0.4 else skin
    )
    return make_piece("pan", spin(rng, [make_cup(0, 0, 0, 0.04, r * 0.8, r, skin), inner, handle]))


def make_kettle(rng: np.random.Generator, palette: Palette) -> Piece:
    """An electric kettle or a teapot: body, spout, handle, lid."""
    r, height = rng.uniform(0.06, 0.085), rng.uniform(0.1, 0.22)
    skin = pick_gloss(palette) if rng.random() < 0.6 else palette.pick_ceramic()
    grip = palette.pick_dark() if rng.random() < 0.6 else skin
    top = r * rng.uniform(0.6, 0.95)
    handle = make_tube(
        [
            (r * 0.8, 0, height * 0.95),
            (r + 0.045, 0, height * 0.9),
            (r + 0.045, 0, height * 0.35),
            (r * 0.85, 0, height * 0.2),
        ],
        0.01,
        grip,
    )
    spout = make_rod((-r * 0.7, 0, height * 0.55), (-r - 0.035, 0, height * 0.98), 0.02, skin, 0.5)
    lid = [make_ball(0, 0, height, top, top, 0.014, grip), make_pole(0, 0, height, height + 0.03, 0.012, grip)]
    return make_piece("kettle", spin(rng, [make_pole(0, 0, 0, height, r, skin, top / r), *handle, spout, *lid]))


def make_jug(rng: np.random.Generator, palette: Palette) -> Piece:
    """A jug or carafe with a wide belly and a handle."""
    r, height = rng.uniform(0.05, 0.075), rng.uniform(0.16, 0.26)
    skin = pick_glass(palette) if rng.random() < 0.5 else palette.pick_ceramic()
    handle = make_tube(
        [(r * 0.6, 0, height * 0.92), (r + 0.035, 0, height * 0.8), (r * 0.9, 0, height * 0.4)], 0.008, skin
    )
    solids = [
        make_pole(0, 0, 0, 0.01, r * 0.8, skin), make_ball(0, 0, height * 0.36, r, r, height * 0.36, skin),
        make_cup(0, 0, height * 0.5, height, r * 0.75, r * rng.uniform(0.5, 0.9), skin), *handle,
    ]  # fmt: skip
    return make_piece("jug", spin(rng, solids))


def make_cutting_board(rng: np.random.Generator, palette: Palette) -> Piece:
    """A board with a grip."""
    hx, hy, wood = rng.uniform(0.1, 0.2), rng.uniform(0.08, 0.14), palette.pick_wood()
    grip = make_slab(hx + 0.04, 0, 0, 0.018, 0.05, 0.02, wood)
    return make_piece("cutting board", spin(rng, [make_slab(0, 0, 0, 0.018, hx, hy, wood), grip]))


def make_tray(rng: np.random.Generator, palette: Palette) -> Piece:
    """A tray with a raised rim and a printed ground."""
    hx, hy, skin = rng.uniform(0.15, 0.24), rng.uniform(0.11, 0.17), pick_plastic(palette)
    ground = palette.pick_print() if rng.random() < 0.5 else skin
    rims = [make_slab(s * hx, 0, 0, 0.03, 0.006, hy, skin) for s in (-1, 1)]
    rims += [make_slab(0, s * hy, 0, 0.03, hx, 0.006, skin) for s in (-1, 1)]
    return make_piece("tray", [make_slab(0, 0, 0, 0.008, hx, hy, ground), *rims])


def make_coffee_machine(rng: np.random.Generator, palette: Palette) -> Piece:
    """A tank behind, a head above, and a jug between."""
    hx, height, skin, dark = (
        rng.uniform(0.08, 0.13),
        rng.uniform(0.26, 0.36),
        pick_plastic(palette),
        palette.pick_dark(),
    )
    solids = [
        make_slab(0, 0, 0, 0.03, hx, 0.12, skin), make_slab(0, 0.07, 0.03, height, hx, 0.05, skin),
        make_slab(0, 0, height - 0.09, height, hx, 0.12, skin), make_cup(0, -0.04, 0.032, 0.14, 0.05, 0.06, pick_glass(palette)),
        make_box(0, -0.122, height - 0.045, hx * 0.5, 0.003, 0.02, dark), make_box(0, -0.105, 0.09, 0.01, 0.02, 0.03, dark),
    ]  # fmt: skip
    return make_piece("coffee machine", solids)


def make_microwave(rng: np.random.Generator, palette: Palette) -> Piece:
    """A box with a dark window, a handle and buttons."""
    hx, hy, height, skin = (
        rng.uniform(0.22, 0.27),
        rng.uniform(0.16, 0.2),
        rng.uniform(0.24, 0.3),
        pick_plastic(palette),
    )
    buttons = [
        make_box(hx * 0.8, -hy - 0.002, height * z, 0.02, 0.003, 0.012, palette.pick_metal())
        for z in (0.25, 0.45, 0.65)
    ]
    solids = [
        make_slab(0, 0, 0.01, height, hx, hy, skin), make_box(-hx * 0.2, -hy, height / 2, hx * 0.7, 0.002, height * 0.36, palette.pick_dark()),
        make_box(hx * 0.56, -hy - 0.02, height / 2, 0.008, 0.01, height * 0.36, pick_steel(palette)), *buttons,
        make_slab(0, 0, 0, 0.01, hx * 0.9, hy * 0.8, palette.pick_dark()),
    ]  # fmt: skip
    return make_piece("microwave", solids)
