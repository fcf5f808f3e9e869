"""Things of paper and cardboard."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (  # fmt: skip
    Piece,
    Solid,
    make_box,
    make_pole,
    make_rotation_x,
    make_rotation_y,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import BOX
from moonseg3r_core.training.data.things.paints import UP, pick_page, pick_plastic, pick_print, pick_text
from moonseg3r_core.training.data.things.shapes import make_piece, turn_solids


def make_paper_pile(rng: np.random.Generator, palette: Palette) -> Piece:
    """Sheets that lie on one another at differing angles."""
    solids, z, stacks = [], 0.0, int(rng.integers(1, 5))
    for _ in range(stacks):
        thick = float(rng.choice([0.002, 0.01, 0.03])) * rng.uniform(0.5, 1.0)
        sheet = pick_text(palette) if rng.random() < 0.7 else palette.pick_white()
        shift = rng.normal(0, 0.008, 2)
        turn = make_rotation_z(rng.normal(0, 0.12))
        solids.append(Solid(BOX, (*shift, z + thick / 2), (0.105, 0.148, thick / 2), sheet, turn))
        z += thick
    return make_piece("pile of papers", solids)


def make_magazine(rng: np.random.Generator, palette: Palette) -> Piece:
    """One or several magazines, fanned a little."""
    solids, z = [], 0.0
    for _ in range(int(rng.integers(1, 4))):
        turn, cover = make_rotation_z(rng.normal(0, 0.25)), pick_page(palette)
        solids.append(Solid(BOX, (0, 0, z + 0.003), (0.105, 0.14, 0.003), cover, turn))
        z += 0.006
    return make_piece("magazine", solids)


def make_newspaper(rng: np.random.Generator, palette: Palette) -> Piece:
    """A folded newspaper."""
    page, fold = pick_page(palette), rng.uniform(0.006, 0.012)
    solids = [make_slab(0, 0, 0, fold, 0.14, 0.19, page), make_slab(0.01, -0.004, fold, fold * 1.8, 0.128, 0.185, page)]
    return make_piece("newspaper", solids)


def make_open_book(rng: np.random.Generator, palette: Palette) -> Piece:
    """Two leaves that rise to the spine, over a cover."""
    hx, hy, lean, page = rng.uniform(0.06, 0.11), rng.uniform(0.08, 0.15), rng.uniform(0.03, 0.12), pick_text(palette)
    cover = make_slab(0, 0, 0, 0.004, 2 * hx + 0.004, hy + 0.004, palette.pick_paint())
    leaves = []
    for side in (-1, 1):
        turn, z = make_rotation_y(side * lean), 0.012 + hx * np.sin(lean)
        leaves.append(Solid(BOX, (side * hx * np.cos(lean), 0, z), (hx, hy, 0.008), page, turn))
    return make_piece("open book", [cover, *leaves])


def make_notebook(rng: np.random.Generator, palette: Palette) -> Piece:
    """A pad with a spiral at its upper edge."""
    hx, hy, thick = rng.uniform(0.05, 0.1), rng.uniform(0.07, 0.14), rng.uniform(0.006, 0.015)
    sheet = (
        pick_text(palette) if rng.random() < 0.5 else pick_page(palette) if rng.random() < 0.5 else palette.pick_paint()
    )
    metal = palette.pick_metal()
    rings = [make_pole(x, hy - 0.006, 0.001, thick + 0.004, 0.004, metal) for x in np.linspace(-0.9 * hx, 0.9 * hx, 7)]
    return make_piece("notebook", [make_slab(0, 0, 0, thick, hx, hy, sheet), *rings])


def make_envelope(rng: np.random.Generator, palette: Palette) -> Piece:
    """A letter with a stamp and an address."""
    hx, hy = rng.uniform(0.08, 0.16), rng.uniform(0.05, 0.11)
    paper = palette.pick_white() if rng.random() < 0.6 else palette.pick_cardboard()
    stamp = make_slab(hx - 0.02, hy - 0.02, 0.003, 0.0035, 0.011, 0.013, palette.pick_print())
    address = make_slab(0.01, -0.01, 0.003, 0.0034, hx * 0.45, hy * 0.35, pick_text(palette))
    return make_piece("envelope", [make_slab(0, 0, 0, 0.003, hx, hy, paper), stamp, address])


def make_packet(rng: np.random.Generator, palette: Palette) -> Piece:
    """A printed box, as of cereals, tea or pills, that stands or lies."""
    hx, hy, height = rng.uniform(0.03, 0.11), rng.uniform(0.015, 0.045), rng.uniform(0.06, 0.32)
    body = make_slab(0, 0, 0, height, hx, hy, pick_page(palette, UP, (0.01, 0.05)))
    label = make_box(0, -hy, height * rng.uniform(0.4, 0.7), hx * 0.8, 0.0008, height * 0.18, palette.pick_paint())
    solids = [body, label][: int(rng.integers(1, 3))]
    if rng.random() < 0.3:
        solids = turn_solids(solids, make_rotation_x(-np.pi / 2))
    return make_piece("packet", solids)


def make_parcel(rng: np.random.Generator, palette: Palette) -> Piece:
    """A carton with tape, a label and printing."""
    hx, hy, height = rng.uniform(0.08, 0.25), rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.3)
    tape = make_box(0, 0, height / 2, hx + 0.0015, 0.025, height / 2 + 0.0015, palette.pick_paint())
    label = make_slab(hx * 0.4, -hy * 0.5, height, height + 0.001, hx * 0.4, hy * 0.35, pick_text(palette))
    front = make_box(-hx * 0.3, -hy, height / 2, hx * 0.5, 0.001, height * 0.3, pick_page(palette, UP))
    return make_piece("parcel", [make_slab(0, 0, 0, height, hx, hy, palette.pick_cardboard()), tape, label, front])


def make_milk_carton(rng: np.random.Generator, palette: Palette) -> Piece:
    """A carton of milk or juice with a folded top and a cap."""
    r, height = rng.uniform(0.03, 0.05), rng.uniform(0.14, 0.24)
    skin, tilt = pick_page(palette, UP, (0.01, 0.04)), 0.7
    slopes = [
        Solid(BOX, (0, s * r * 0.5, height + r * 0.38), (r, r * 0.66, 0.002), skin, make_rotation_x(-s * tilt)) for s in (-1, 1)
    ]  # fmt: skip
    crest = make_slab(0, 0, height + r * 0.7, height + r * 1.3, r, 0.002, skin)
    cap = make_pole(0, -r * 0.6, height + 0.005, height + r * 0.55, 0.012, palette.pick_paint())
    return make_piece("milk carton", [make_slab(0, 0, 0, height, r, r, skin), *slopes, crest, cap])


def make_binder(rng: np.random.Generator, palette: Palette) -> Piece:
    """A ring binder that stands, with a label on its back."""
    hx, hy, height = rng.uniform(0.018, 0.04), rng.uniform(0.11, 0.15), rng.uniform(0.27, 0.32)
    skin = palette.pick_fabric() if rng.random() < 0.3 else palette.pick_paint()
    label = make_box(0, -hy, height * 0.65, hx * 0.75, 0.001, height * 0.2, pick_text(palette, UP))
    hole = make_box(0, -hy, height * 0.2, 0.012, 0.0012, 0.012, palette.pick_dark())
    return make_piece("binder", [make_slab(0, 0, 0, height, hx, hy, skin), label, hole])


def make_photo_frame(rng: np.random.Generator, palette: Palette) -> Piece:
    """A small frame that leans on its stand."""
    hx, hz, lean = rng.uniform(0.05, 0.12), rng.uniform(0.06, 0.13), make_rotation_x(-0.25)
    rim = rng.uniform(0.006, 0.02)
    frame = make_box(0, 0, 0, hx, 0.008, hz, palette.pick_wood())
    photo = make_box(0, -0.0085, 0, hx - rim, 0.001, hz - rim, pick_print(palette))
    leg = make_box(0, 0.05, -hz * 0.2, hx * 0.3, 0.004, hz * 0.75, palette.pick_dark())
    return make_piece("photo frame", [*turn_solids([frame, photo], lean), *turn_solids([leg], make_rotation_x(0.25))])


def make_tissue_box(rng: np.random.Generator, palette: Palette) -> Piece:
    """A printed box with a tissue that sticks out."""
    hx, hy, height = rng.uniform(0.06, 0.12), rng.uniform(0.055, 0.07), rng.uniform(0.05, 0.12)
    skin = pick_print(palette)
    tissue = make_pole(0, 0, height - 0.005, height + 0.05, 0.035, palette.pick_white(), 0.3)
    return make_piece("tissue box", [make_slab(0, 0, 0, height, hx, hy, skin), tissue])


def make_trash_paper(rng: np.random.Generator, palette: Palette) -> Piece:
    """A crumpled ball of paper."""
    r, paper = rng.uniform(0.02, 0.045), pick_text(palette) if rng.random() < 0.5 else pick_plastic(palette)
    lumps = [
        Solid(BOX, tuple(rng.normal(0, r * 0.15, 3)), tuple(r * rng.uniform(0.5, 0.75, 3)), paper,
              make_rotation_z(rng.uniform(0, 3)) @ make_rotation_x(rng.uniform(0, 3)))
        for _ in range(4)
    ]  # fmt: skip
    return make_piece("crumpled paper", lumps)
