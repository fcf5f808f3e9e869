"""Things on walls, their backs at y = 0."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, make_ball, make_box, make_pole, make_slab
from moonseg3r_core.training.data.things.paints import (
    UP,
    pick_glass,
    pick_mirror,
    pick_page,
    pick_plastic,
    pick_print,
    pick_text,
    pick_textile,
)
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube


def make_poster(rng: np.random.Generator, palette: Palette) -> Piece:
    """A sheet with a print or text."""
    sheet = pick_page(palette, UP, (0.015, 0.06)) if rng.random() < 0.6 else pick_print(palette)
    return _hang("poster", [make_box(0, -0.002, 0, rng.uniform(0.12, 0.5), 0.002, rng.uniform(0.15, 0.6), sheet)])


def make_calendar(rng: np.random.Generator, palette: Palette) -> Piece:
    """A picture above a sheet of text."""
    hx, hz = rng.uniform(0.1, 0.2), rng.uniform(0.12, 0.22)
    return _hang(
        "calendar",
        [
            make_box(0, -0.003, hz, hx, 0.003, hz, pick_print(palette)),
            make_box(0, -0.003, -hz * 0.8, hx, 0.003, hz * 0.8, pick_text(palette, UP)),
        ],
    )


def make_mirror(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round or rectangular mirror in a frame."""
    glass, frame, hx, hz = pick_mirror(palette), palette.pick_wood(), rng.uniform(0.18, 0.45), rng.uniform(0.2, 0.6)
    if rng.random() < 0.4:
        return _hang(
            "mirror",
            [make_rod((0, 0, 0), (0, -0.02, 0), hx, frame), make_rod((0, -0.01, 0), (0, -0.021, 0), hx * 0.93, glass)],
        )
    return _hang(
        "mirror",
        [make_box(0, -0.01, 0, hx, 0.01, hz, frame), make_box(0, -0.0115, 0, hx - 0.025, 0.0095, hz - 0.025, glass)],
    )


def make_socket(rng: np.random.Generator, palette: Palette) -> Piece:
    """One to three sockets or switches in a frame."""
    skin, dark, solids = palette.pick_white(), palette.pick_dark(), []
    for i in range(int(rng.integers(1, 4))):
        solids.append(make_box(i * 0.075, -0.006, 0, 0.04, 0.006, 0.04, skin))
        is_switch = rng.random() < 0.5
        solids.append(
            make_box(i * 0.075, -0.013, 0, 0.026, 0.003, 0.026, skin)
            if is_switch
            else make_rod((i * 0.075, 0, 0), (i * 0.075, -0.0125, 0), 0.02, dark)
        )
    return _hang("socket", solids)


def make_blind(rng: np.random.Generator, palette: Palette) -> Piece:
    """Slats before a bright pane, with a box above."""
    hx, hz, skin = (
        rng.uniform(0.3, 0.7),
        rng.uniform(0.35, 0.7),
        palette.pick_white() if rng.random() < 0.5 else palette.pick_wood(),
    )
    slats = [make_box(0, -0.03, z, hx, 0.018, 0.004, skin) for z in np.arange(-hz, hz, 0.045)]
    cords = [make_box(s * hx * 0.7, -0.03, 0, 0.002, 0.02, hz, skin) for s in (-1, 1)]
    pane = make_box(0, -0.004, 0, hx, 0.004, hz, palette.pick_glow(0.7))
    return _hang("blind", [pane, *slats, *cords, make_box(0, -0.03, hz + 0.03, hx + 0.01, 0.03, 0.03, skin)])


def make_curtain(rng: np.random.Generator, palette: Palette) -> Piece:
    """A curtain that hangs in folds from a rail."""
    hx, height, cloth = rng.uniform(0.2, 0.6), rng.uniform(1.3, 2.1), pick_textile(palette)
    folds = [make_pole(x, -0.05, 0, height, 0.03, cloth) for x in np.arange(-hx, hx, 0.045)]
    return _hang(
        "curtain",
        [
            *folds,
            make_rod(
                (-hx - 0.08, -0.05, height + 0.02), (hx + 0.08, -0.05, height + 0.02), 0.014, palette.pick_metal()
            ),
        ],
    )


def make_doorway(rng: np.random.Generator, palette: Palette) -> Piece:
    """A door frame with a dark or bright opening, or a leaf with panes."""
    hx, height, frame = rng.uniform(0.38, 0.45), rng.uniform(1.95, 2.05), palette.pick_wood()
    posts = [make_slab(s * (hx + 0.035), -0.03, 0, height, 0.035, 0.03, frame) for s in (-1, 1)]
    lintel = make_slab(0, -0.03, height, height + 0.07, hx + 0.07, 0.03, frame)
    if rng.random() < 0.5:
        return _hang("door", [make_slab(0, -0.005, 0, height, hx, 0.005, palette.pick_dark()), *posts, lintel])
    leaf, glass = palette.pick_wood(), pick_glass(palette)
    panes = [
        make_box(x * hx * 0.42, -0.022, height * z, hx * 0.33, 0.004, height * 0.11, glass)
        for x in (-1, 1)
        for z in (0.35, 0.6, 0.85)
    ]
    knob = make_ball(hx * 0.85, -0.05, 1.0, 0.028, 0.03, 0.028, palette.pick_metal())
    return _hang("door", [make_slab(0, -0.01, 0, height, hx, 0.01, leaf), *panes, knob, *posts, lintel])


def make_towel_rail(rng: np.random.Generator, palette: Palette) -> Piece:
    """A rail with a towel over it."""
    hx, metal, cloth, drop = rng.uniform(0.2, 0.35), palette.pick_metal(), pick_textile(palette), rng.uniform(0.25, 0.5)
    ends = [make_rod((s * hx, 0, 0), (s * hx, -0.07, 0), 0.01, metal) for s in (-1, 1)]
    wide = hx * rng.uniform(0.5, 0.9)
    towel = [make_slab(0, y, -drop * k, 0.0, wide, 0.006, cloth) for y, k in ((-0.086, 1.0), (-0.054, 0.8))]
    top = make_rod((-wide, -0.07, 0), (wide, -0.07, 0), 0.022, cloth)
    return _hang("towel", [make_rod((-hx, -0.07, 0), (hx, -0.07, 0), 0.01, metal), *ends, *towel, top])


def make_coat(rng: np.random.Generator, palette: Palette) -> Piece:
    """A coat on a hook."""
    cloth, long = pick_textile(palette), rng.uniform(0.6, 1.0)
    sleeves = [make_rod((s * 0.14, -0.06, -0.06), (s * 0.2, -0.07, -0.6), 0.045, cloth) for s in (-1, 1)]
    body = [make_slab(0, -0.06, -long, -0.06, 0.16, 0.055, cloth), make_ball(0, -0.06, -0.07, 0.17, 0.06, 0.06, cloth)]
    return _hang("coat", [*body, *sleeves, make_rod((0, 0, 0), (0, -0.07, 0.0), 0.012, palette.pick_metal())])


def make_notice_board(rng: np.random.Generator, palette: Palette) -> Piece:
    """A board with a frame and notes pinned to it."""
    hx, hz = rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.4)
    solids = [
        make_box(0, -0.01, 0, hx, 0.01, hz, palette.pick_wood()),
        make_box(0, -0.0115, 0, hx - 0.02, 0.0095, hz - 0.02, palette.pick_cardboard()),
    ]
    for i in range(int(rng.integers(3, 9))):
        x, z, note = (
            rng.uniform(-0.75, 0.75) * hx,
            rng.uniform(-0.7, 0.7) * hz,
            pick_text(palette, UP) if rng.random() < 0.6 else palette.pick_paint(),
        )
        solids.append(
            make_box(x, -0.021 - 0.0006 * i, z, rng.uniform(0.03, 0.07), 0.001, rng.uniform(0.03, 0.08), note)
        )
    return _hang("notice board", solids)


def make_wall_cupboard(rng: np.random.Generator, palette: Palette) -> Piece:
    """Kitchen cupboards with doors and handles."""
    doors, height, body = int(rng.integers(1, 4)), rng.uniform(0.5, 0.75), palette.pick_wood()
    front, metal, solids = palette.pick_wood(), palette.pick_metal(), []
    for i in range(doors):
        solids.append(make_slab(0.4 * i, -0.318, 0.004, height - 0.004, 0.195, 0.009, front))
        solids.append(make_box(0.4 * i + 0.15 * (-1) ** i, -0.34, 0.09, 0.006, 0.012, 0.06, metal))
    return _hang("wall cupboard", [make_slab(0.2 * (doors - 1), -0.155, 0, height, 0.2 * doors, 0.155, body), *solids])


def make_vent(rng: np.random.Generator, palette: Palette) -> Piece:
    """A grille, a thermostat or a control panel."""
    hx, hz, skin = rng.uniform(0.04, 0.15), rng.uniform(0.04, 0.1), pick_plastic(palette)
    bars = [
        make_box(0, -0.017, z, hx * 0.85, 0.003, 0.004, palette.pick_dark()) for z in np.linspace(-0.7, 0.7, 5) * hz
    ]
    return _hang("panel", [make_box(0, -0.0075, 0, hx, 0.0075, hz, skin), *bars])


def make_pipe(rng: np.random.Generator, palette: Palette) -> Piece:
    """A pipe that runs along the wall with two bends."""
    long, skin = rng.uniform(0.4, 1.4), palette.pick_white()
    return _hang(
        "pipe",
        make_tube(
            [(0, -0.01, 0), (0, -0.05, 0.02), (0, -0.05, long), (0, -0.01, long + 0.02)], rng.uniform(0.01, 0.025), skin
        ),
    )


def _hang(name: str, solids: list) -> Piece:
    return make_piece(name, solids, mount="wall")
