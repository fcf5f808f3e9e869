"""Small things on furniture and on the floor, each of random size, shape and material."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Light,
    Piece,
    Solid,
    make_ball,
    make_box,
    make_cup,
    make_pole,
    make_rotation_x,
    make_rotation_y,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM


def make_mug(rng: np.random.Generator, palette: Palette) -> Piece:
    """A cup with a handle and something in it."""
    r, height, glaze = rng.uniform(0.035, 0.045), rng.uniform(0.08, 0.11), palette.pick_ceramic()
    ring, upright = (height * 0.3, height * 0.3, 0.007), make_rotation_x(np.pi / 2)
    solids = (
        make_pole(0, 0, 0, height, r, glaze),
        make_pole(0, 0, height, height + 0.001, r * 0.85, palette.pick_dark()),
        Solid(FRUSTUM, (r + 0.008, 0, height / 2), ring, glaze, upright),
    )
    return Piece("mug", solids, (r + 0.045, r + 0.045), height + 0.001)


def make_bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A body, a neck and a cap."""
    r, height, glass = rng.uniform(0.032, 0.042), rng.uniform(0.22, 0.31), palette.pick_paint()
    body = height * rng.uniform(0.55, 0.7)
    solids = (
        make_pole(0, 0, 0, body, r, glass),
        make_pole(0, 0, body, body + 0.04, r, glass, 0.4),
        make_pole(0, 0, body + 0.04, height - 0.02, r * 0.4, glass),
        make_pole(0, 0, height - 0.02, height, r * 0.45, palette.pick_dark()),
        make_pole(0, 0, body * 0.3, body * 0.75, r + 0.001, palette.pick_print()),
    )
    return Piece("bottle", solids, (r + 0.002, r + 0.002), height)


def make_bowl(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bowl with fruit."""
    r, height = rng.uniform(0.09, 0.15), rng.uniform(0.06, 0.09)
    solids = [make_cup(0, 0, 0, height, r * 0.5, r, palette.pick_ceramic())]
    for i in range(int(rng.integers(0, 5))):
        fruit, angle = rng.uniform(0.032, 0.042), i * 2 * np.pi / 4
        x, y, z = r * 0.45 * np.cos(angle), r * 0.45 * np.sin(angle), height + fruit * 0.6
        solids.append(make_ball(x, y, z, fruit, fruit, fruit, palette.pick_paint()))
    return Piece("bowl", tuple(solids), (r, r), height + 0.07)


def make_vase(rng: np.random.Generator, palette: Palette) -> Piece:
    """A belly and a neck."""
    r, height, glaze = rng.uniform(0.06, 0.1), rng.uniform(0.18, 0.34), palette.pick_ceramic()
    belly = height * rng.uniform(0.3, 0.45)
    solids = (
        make_pole(0, 0, 0, 0.015, r * 0.6, glaze), make_ball(0, 0, belly, r, r, belly, glaze),
        make_pole(0, 0, belly, height - 0.01, r * 0.4, glaze), make_cup(0, 0, height - 0.03, height, r * 0.4, r * 0.6, glaze),
    )  # fmt: skip
    return Piece("vase", solids, (r, r), height)


def make_book(rng: np.random.Generator, palette: Palette) -> Piece:
    """One book, or a few lying on one another."""
    z, solids = 0.0, []
    for _ in range(int(rng.integers(1, 4))):
        hx, hy, hz = rng.uniform(0.08, 0.12), rng.uniform(0.1, 0.15), rng.uniform(0.01, 0.022)
        turn = make_rotation_z(rng.uniform(-0.2, 0.2))
        cover, paper = palette.pick_print() if rng.random() < 0.4 else palette.pick_paint(), palette.pick_white()
        solids += [
            Solid(BOX, (0, 0, z + hz), (hx, hy, hz), cover, turn),
            Solid(BOX, (0, 0, z + hz), (hx + 0.001, hy - 0.004, hz * 0.8), paper, turn),
        ]
        z += 2 * hz
    return Piece("book", tuple(solids), (0.16, 0.18), z)


def make_books(rng: np.random.Generator, palette: Palette) -> Piece:
    """A row of books of differing thickness and height."""
    length, tallest, x, solids = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.27), 0.0, []
    while x < length:
        thick, height, hy = rng.uniform(0.016, 0.05), tallest * rng.uniform(0.75, 1.0), rng.uniform(0.08, 0.105)
        solids.append((x + thick / 2, thick / 2, height, hy))
        x += thick + 0.001
    covers = [palette.pick_paint() if rng.random() < 0.8 else palette.pick_fabric() for _ in range(6)]
    row = (make_slab(at - x / 2, 0.105 - hy, 0, h, half, hy, covers[rng.integers(6)]) for at, half, h, hy in solids)
    return Piece("books", tuple(row), (x / 2, 0.105), tallest)


def make_cardboard_box(rng: np.random.Generator, palette: Palette) -> Piece:
    """A carton, taped at times."""
    hx, hy, hz = rng.uniform(0.06, 0.15), rng.uniform(0.06, 0.12), rng.uniform(0.04, 0.12)
    solids = [make_slab(0, 0, 0, 2 * hz, hx, hy, palette.pick_cardboard())]
    if rng.random() < 0.5:
        solids.append(make_box(0, 0, hz, hx + 0.0015, 0.02, hz + 0.0015, palette.pick_paint()))
    return Piece("box", tuple(solids), (hx + 0.002, hy + 0.002), 2 * hz + 0.002)


def make_crate(rng: np.random.Generator, palette: Palette) -> Piece:
    """A large carton for the floor."""
    hx, hy, height = rng.uniform(0.15, 0.3), rng.uniform(0.15, 0.25), rng.uniform(0.2, 0.5)
    lid = make_box(0, 0, height / 2, hx + 0.002, 0.03, height / 2 - 0.001, palette.pick_paint())
    return Piece("box", (make_slab(0, 0, 0, height, hx, hy, palette.pick_cardboard()), lid), (hx + 0.002, hy), height)


def make_beach_ball(rng: np.random.Generator, palette: Palette) -> Piece:
    """A ball of any size up to a football."""
    r = rng.uniform(0.04, 0.13)
    return Piece("ball", (make_ball(0, 0, r, r, r, r, palette.pick_fabric()),), (r, r), 2 * r)


def make_dustbin(rng: np.random.Generator, palette: Palette) -> Piece:
    """An open bin: a wide rim and a dark mouth."""
    r, height = rng.uniform(0.12, 0.17), rng.uniform(0.28, 0.45)
    skin = palette.pick_metal() if rng.random() < 0.5 else palette.pick_paint()
    solids = (
        make_cup(0, 0, 0, height - 0.02, r * 0.8, r, skin),
        make_pole(0, 0, height - 0.02, height, r + 0.008, skin),
        make_pole(0, 0, height, height + 0.002, r * 0.92, palette.pick_dark()),
    )
    return Piece("bin", solids, (r + 0.01, r + 0.01), height)


def make_plant(rng: np.random.Generator, palette: Palette) -> Piece:
    """A small pot with leaves."""
    r = rng.uniform(0.05, 0.08)
    tall, spread = r * rng.uniform(1.4, 1.9), r * rng.uniform(1.6, 2.0)
    solids = [
        make_cup(0, 0, 0, tall, r * 0.7, r, palette.pick_ceramic()),
        make_pole(0, 0, tall, tall + 0.002, r * 0.85, palette.pick_dark()),
    ]
    green = palette.pick_leaf()
    for _ in range(int(rng.integers(7, 13))):
        yaw, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.8)
        length = spread * rng.uniform(0.6, 0.8)
        turn = make_rotation_z(yaw) @ make_rotation_y(lean)
        center = turn @ np.array([0.0, 0.0, length * 0.9]) * 0.8 + np.array([0.0, 0.0, tall])
        solids.append(Solid(ELLIPSOID, tuple(center), (length * 0.09, length * 0.28, length * 0.8), green, turn))
    return Piece("plant", tuple(solids), (spread * 1.15, spread * 1.15), tall + 1.4 * spread)


def make_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A table lamp."""
    height, foot = rng.uniform(0.32, 0.5), palette.pick_ceramic()
    low = height - rng.uniform(0.14, 0.18)
    shade = make_cup(0, 0, low, height, rng.uniform(0.11, 0.14), rng.uniform(0.07, 0.12), palette.pick_glow(0.9))
    solids = (
        make_pole(0, 0, 0, 0.02, 0.07, foot),
        make_ball(0, 0, low * 0.45, 0.05, 0.05, low * 0.45, foot),
        make_pole(0, 0, 0, low + 0.02, 0.012, foot),
        shade,
    )
    return Piece("lamp", solids, (0.14, 0.14), height, light=Light((0.0, 0.0, height + 0.04), rng.uniform(0.08, 0.2)))


def make_monitor(rng: np.random.Generator, palette: Palette) -> Piece:
    """A flat screen on a foot."""
    hx, lift = rng.uniform(0.22, 0.36), rng.uniform(0.07, 0.13)
    hz, case = hx * 0.58, palette.pick_dark()
    solids = (
        make_slab(0, 0.04, 0, 0.015, 0.12, 0.08, case),
        make_slab(0, 0.05, 0.01, lift + hz, 0.025, 0.012, case),
        make_box(0, 0.02, lift + hz, hx, 0.018, hz, case),
        make_box(0, 0.001, lift + hz + 0.004, hx - 0.012, 0.0015, hz - 0.016, palette.pick_screen()),
    )
    return Piece("monitor", solids, (hx, 0.12), lift + 2 * hz)


def make_laptop(rng: np.random.Generator, palette: Palette) -> Piece:
    """A keyboard and a leaning screen."""
    hx, case, lean = rng.uniform(0.15, 0.18), palette.pick_metal(), make_rotation_x(-rng.uniform(0.1, 0.4))
    hinge = np.array([0.0, 0.095, 0.014])
    up, face = hinge + lean @ np.array([0.0, 0.0, 0.11]), hinge + lean @ np.array([0.0, -0.006, 0.11])
    solids = (
        make_slab(0, 0, 0, 0.016, hx, 0.11, case),
        make_slab(0, 0.025, 0.016, 0.018, hx - 0.02, 0.05, palette.pick_dark()),
        Solid(BOX, tuple(up), (hx, 0.005, 0.11), case, lean),
        Solid(BOX, tuple(face), (hx - 0.01, 0.001, 0.1), palette.pick_screen(), lean),
    )
    return Piece("laptop", solids, (hx, 0.19), 0.25)


def make_pillow(rng: np.random.Generator, palette: Palette) -> Piece:
    """Flat and soft."""
    hx, hy, hz = rng.uniform(0.24, 0.36), rng.uniform(0.16, 0.19), rng.uniform(0.06, 0.08)
    cloth = palette.pick_white() if rng.random() < 0.5 else palette.pick_fabric()
    inner = make_box(0, 0, hz, hx * 0.8, hy * 0.8, hz * 0.55, cloth)
    return Piece("pillow", (make_ball(0, 0, hz, hx, hy, hz, cloth), inner), (hx, hy), 2 * hz)


def make_cushion(rng: np.random.Generator, palette: Palette) -> Piece:
    """A square cushion that leans backwards."""
    r, lean, cloth = rng.uniform(0.17, 0.22), make_rotation_x(rng.uniform(-0.5, -0.25)), palette.pick_fabric()
    center = (0.0, 0.0, r * 0.97)
    solids = (
        Solid(BOX, center, (r * 0.72, 0.04, r * 0.72), cloth, lean),
        Solid(ELLIPSOID, center, (r, 0.075, r), cloth, lean),
    )
    return Piece("cushion", solids, (r, 0.15), 2 * r)


def make_clock(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round face on a foot."""
    r, case = rng.uniform(0.06, 0.09), palette.pick_paint()
    across = make_rotation_x(np.pi / 2)
    solids = (
        Solid(FRUSTUM, (0, 0, r + 0.01), (r, r, 0.02), case, across),
        make_slab(0, 0, 0, 0.02, r * 0.7, 0.025, case),
        Solid(FRUSTUM, (0, -0.02, r + 0.01), (r * 0.88, r * 0.88, 0.002), palette.pick_white(), across),
        make_box(0, -0.023, r * 1.3, 0.004, 0.001, r * 0.3, palette.pick_dark()),
        make_box(r * 0.2, -0.023, r + 0.01, r * 0.22, 0.001, 0.004, palette.pick_dark()),
    )
    return Piece("clock", solids, (r, 0.03), 2 * r + 0.01)


def make_toaster(rng: np.random.Generator, palette: Palette) -> Piece:
    """A rounded box with two slots."""
    skin, dark = palette.pick_metal() if rng.random() < 0.5 else palette.pick_paint(), palette.pick_dark()
    slots = [make_slab(0, y, 0.185, 0.191, 0.1, 0.012, dark) for y in (-0.03, 0.03)]
    solids = (
        make_slab(0, 0, 0.015, 0.19, 0.14, 0.08, skin),
        make_slab(0, 0, 0, 0.015, 0.13, 0.07, dark),
        make_box(0.15, 0, 0.12, 0.012, 0.02, 0.008, dark),
        *slots,
    )
    return Piece("toaster", solids, (0.165, 0.08), 0.195)


def make_suitcase(rng: np.random.Generator, palette: Palette) -> Piece:
    """A trunk with straps and a handle."""
    hx, hy, height, skin = rng.uniform(0.2, 0.3), rng.uniform(0.14, 0.2), rng.uniform(0.16, 0.22), palette.pick_fabric()
    half = height / 2
    straps = [make_box(s * hx * 0.5, 0, half, 0.02, hy + 0.003, half - 0.001, palette.pick_dark()) for s in (-1, 1)]
    handle = make_box(0, -hy - 0.01, half, 0.06, 0.012, 0.012, palette.pick_dark())
    return Piece("suitcase", (make_slab(0, 0, 0, height, hx, hy, skin), *straps, handle), (hx, hy + 0.025), height)


def make_rug(rng: np.random.Generator, palette: Palette) -> Piece:
    """A carpet with a border."""
    hx, hy = rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.8)
    if rng.random() < 0.3:
        return Piece("rug", (make_pole(0, 0, 0, 0.008, hy, palette.pick_fabric()),), (hy, hy), 0.008)
    inner = make_slab(0, 0, 0, 0.009, hx - 0.08, hy - 0.08, palette.pick_fabric())
    return Piece("rug", (make_slab(0, 0, 0, 0.007, hx, hy, palette.pick_fabric()), inner), (hx, hy), 0.009)


THINGS: dict[str, Callable[[np.random.Generator, Palette], Piece]] = {
    "mug": make_mug, "bottle": make_bottle, "bowl": make_bowl, "vase": make_vase, "book": make_book,
    "books": make_books, "box": make_cardboard_box, "crate": make_crate, "ball": make_beach_ball, "bin": make_dustbin,
    "plant": make_plant, "lamp": make_lamp, "monitor": make_monitor, "laptop": make_laptop, "pillow": make_pillow,
    "cushion": make_cushion, "clock": make_clock, "toaster": make_toaster, "suitcase": make_suitcase, "rug": make_rug,
}  # fmt: skip
