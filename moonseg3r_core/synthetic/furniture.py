"""Large pieces that stand on the floor, each of random size, shape and material."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Light,
    Piece,
    Solid,
    Surface,
    make_ball,
    make_box,
    make_cup,
    make_pole,
    make_rotation_y,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import ELLIPSOID
from moonseg3r_core.synthetic.textures import Material

TABLETOP = ("mug", "bottle", "bowl", "vase", "book", "box", "plant", "lamp", "monitor", "laptop", "ball", "clock")
COFFEE = ("mug", "bowl", "book", "vase", "bottle", "laptop", "ball")
CABINET = ("vase", "plant", "box", "lamp", "bowl", "clock", "monitor", "book", "toaster")
BAY = ("books", "books", "books", "box", "vase", "bowl", "ball", "clock", "plant", "mug")


def make_legs(
    hx: float, hy: float, height: float, radius: float, round_legs: bool, material: Material
) -> tuple[Solid, ...]:
    """Make four legs at the corners of a rectangle."""
    corners = [(sx * (hx - radius), sy * (hy - radius)) for sx in (-1, 1) for sy in (-1, 1)]
    if round_legs:
        return tuple(make_pole(x, y, 0, height, radius, material) for x, y in corners)
    return tuple(make_slab(x, y, 0, height, radius, radius, material) for x, y in corners)


def make_table(rng: np.random.Generator, palette: Palette) -> Piece:
    """Four legs or one column; rectangular or round."""
    height, thick = rng.uniform(0.70, 0.78), rng.uniform(0.015, 0.03)
    top, leg = palette.pick_wood(), palette.pick_metal() if rng.random() < 0.4 else palette.pick_wood()
    if rng.random() < 0.3:
        r = rng.uniform(0.45, 0.65)
        column = (make_pole(0, 0, 0.03, height - thick, 0.05, leg), make_pole(0, 0, 0, 0.03, r * 0.55, leg, 0.8))
        solids = (make_pole(0, 0, height - thick, height, r, top), *column)
        return Piece("table", solids, (r, r), height, (Surface(0, 0, r * 0.68, r * 0.68, height, 1.0, TABLETOP, 0.9),))
    hx, hy = rng.uniform(0.55, 0.95), rng.uniform(0.35, 0.48)
    frame = make_legs(hx - 0.02, hy - 0.02, height - thick, rng.uniform(0.02, 0.04), rng.random() < 0.5, leg)
    board = make_slab(0, 0, height - thick, height, hx, hy, top)
    return Piece("table", (board, *frame), (hx, hy), height, (Surface(0, 0, hx, hy, height, 1.0, TABLETOP, 0.9),))


def make_desk(rng: np.random.Generator, palette: Palette) -> Piece:
    """A table with drawers on one side and a panel behind."""
    hx, hy, height = rng.uniform(0.55, 0.85), rng.uniform(0.3, 0.4), rng.uniform(0.71, 0.77)
    wood, front, knob = palette.pick_wood(), palette.pick_wood(), palette.pick_metal()
    side = float(rng.choice([-1, 1]))
    x = side * (hx - 0.22)
    drawers = []
    for low, high in ((0.06, 0.26), (0.27, 0.47), (0.48, height - 0.05)):
        drawers.append(make_slab(x, -hy + 0.02, low, high, 0.18, 0.018, front))
        drawers.append(make_box(x, -hy, (low + high) / 2, 0.05, 0.012, 0.008, knob))
    solids = (
        make_slab(0, 0, height - 0.03, height, hx, hy, wood), make_slab(x, 0.02, 0.04, height - 0.03, 0.2, hy - 0.05, wood),
        make_slab(-side * (hx - 0.03), 0, 0, height - 0.03, 0.02, hy - 0.03, wood),
        make_slab(0, hy - 0.03, 0.3, height - 0.03, hx - 0.04, 0.01, wood), *drawers,
    )  # fmt: skip
    kinds = ("monitor", "laptop", "lamp", *TABLETOP)
    return Piece("desk", solids, (hx, hy + 0.012), height, (Surface(0, 0, hx, hy, height, 1.0, kinds, 1.0),))


def make_coffee_table(rng: np.random.Generator, palette: Palette) -> Piece:
    """A coffee table with a lower board."""
    hx, hy, height = rng.uniform(0.35, 0.6), rng.uniform(0.25, 0.4), rng.uniform(0.35, 0.48)
    wood = palette.pick_wood()
    board = make_slab(0, 0, 0.1, 0.12, hx - 0.05, hy - 0.05, wood)
    frame = make_legs(hx - 0.01, hy - 0.01, height - 0.03, 0.025, rng.random() < 0.5, palette.pick_metal())
    solids = (make_slab(0, 0, height - 0.03, height, hx, hy, wood), board, *frame)
    return Piece("coffee table", solids, (hx, hy), height, (Surface(0, 0, hx, hy, height, 1.0, COFFEE, 0.8),))


def make_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Four legs, a seat, a back of a board or of rails."""
    h, seat, top = rng.uniform(0.2, 0.24), rng.uniform(0.43, 0.47), rng.uniform(0.8, 1.0)
    wood, cloth = palette.pick_wood(), palette.pick_fabric() if rng.random() < 0.6 else palette.pick_wood()
    frame = make_legs(h, h, seat - 0.02, 0.018, rng.random() < 0.5, wood)
    posts = [make_slab(s * (h - 0.018), h - 0.018, seat, top, 0.016, 0.016, wood) for s in (-1, 1)]
    if rng.random() < 0.5:
        back = [make_box(0, h - 0.02, (seat + top) / 2 + 0.08, h - 0.03, 0.012, (top - seat) / 2 - 0.09, cloth)]
    else:
        heights = np.linspace(seat + 0.12, top - 0.04, int(rng.integers(2, 5)))
        back = [make_box(0, h - 0.02, z, h - 0.03, 0.01, 0.025, wood) for z in heights]
    return Piece("chair", (make_box(0, 0, seat, h, h, 0.025, cloth), *frame, *posts, *back), (h, h), top)


def make_office_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """A star foot, a column, a cushioned seat and back."""
    cloth, metal = palette.pick_fabric(), palette.pick_dark()
    feet = [make_box(0, 0, 0.06, 0.28, 0.02, 0.015, metal), make_box(0, 0, 0.06, 0.02, 0.28, 0.015, metal)]
    places = ((0.26, 0), (-0.26, 0), (0, 0.26), (0, -0.26))
    wheels = [make_ball(x, y, 0.025, 0.025, 0.025, 0.025, metal) for x, y in places]
    seat = rng.uniform(0.45, 0.52)
    body = [
        make_pole(0, 0, 0.05, seat - 0.04, 0.025, metal), make_box(0, 0, seat, 0.24, 0.24, 0.045, cloth),
        make_box(0, 0.23, seat + 0.1, 0.03, 0.012, 0.12, metal), make_ball(0, 0.24, seat + 0.38, 0.22, 0.04, 0.25, cloth),
    ]  # fmt: skip
    if rng.random() < 0.6:
        body += [make_box(s * 0.25, 0, seat + 0.2, 0.025, 0.15, 0.015, metal) for s in (-1, 1)]
        body += [make_box(s * 0.25, 0, seat + 0.1, 0.012, 0.03, 0.1, metal) for s in (-1, 1)]
    return Piece("chair", (*feet, *wheels, *body), (0.29, 0.29), seat + 0.63)


def make_stool(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round or square seat on legs."""
    r, height = rng.uniform(0.15, 0.2), rng.uniform(0.4, 0.65)
    wood, seat = palette.pick_wood(), palette.pick_wood() if rng.random() < 0.5 else palette.pick_fabric()
    low = height - 0.04
    top = make_pole(0, 0, low, height, r, seat) if rng.random() < 0.6 else make_slab(0, 0, low, height, r, r, seat)
    solids = (top, *make_legs(r * 0.8, r * 0.8, low, 0.015, True, wood), make_pole(0, 0, 0.15, 0.17, r * 0.72, wood))
    surface = Surface(0, 0, r * 0.6, r * 0.6, height, 0.8, ("mug", "book", "plant"), 0.3)
    return Piece("stool", solids, (r, r), height, (surface,))


def make_shelf(rng: np.random.Generator, palette: Palette) -> Piece:
    """An open bookcase whose bays hold books and other things."""
    hx, hy, height = rng.uniform(0.35, 0.65), rng.uniform(0.13, 0.18), rng.uniform(1.1, 2.1)
    wood, thick = palette.pick_wood(), 0.012
    boards = np.linspace(0.06, height - thick, round(height / rng.uniform(0.3, 0.4)) + 1)
    solids = [make_slab(s * (hx - thick), 0, 0, height, thick, hy, wood) for s in (-1, 1)]
    solids += [make_box(0, 0, z, hx - 2 * thick, hy, thick, wood) for z in boards]
    if rng.random() < 0.8:
        solids.append(make_slab(0, hy - 0.004, 0.06, height, hx, 0.004, palette.pick_wood()))
    surfaces = [
        Surface(0, -0.01, hx - 2 * thick - 0.01, hy - 0.02, low + thick, high - low - 2 * thick - 0.02, BAY, 1.2)
        for low, high in pairwise(boards)
    ]
    surfaces.append(Surface(0, 0, hx - 0.02, hy - 0.01, height, 0.4, ("box", "plant", "vase"), 0.4))
    return Piece("shelf", tuple(solids), (hx, hy), height, tuple(surfaces))


def make_cabinet(rng: np.random.Generator, palette: Palette) -> Piece:
    """A chest with doors or drawers."""
    hx, hy = rng.uniform(0.3, 0.75), rng.uniform(0.19, 0.26)
    height = rng.uniform(0.55, 1.0) if rng.random() < 0.75 else rng.uniform(1.2, 1.6)
    body, front, knob = palette.pick_wood(), palette.pick_wood(), palette.pick_metal()
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    width, step = 2 * hx / columns, (height - 0.1) / rows
    solids = [
        make_slab(0, 0.01, 0.05, height, hx, hy - 0.01, body),
        make_slab(0, 0.02, 0, 0.05, hx - 0.03, hy - 0.04, palette.pick_dark()),
    ]
    for c in range(columns):
        for r in range(rows):
            x, z = -hx + (c + 0.5) * width, 0.07 + (r + 0.5) * step
            solids.append(make_box(x, -hy + 0.008, z, width / 2 - 0.008, 0.008, step / 2 - 0.008, front))
            x += 0.3 * width * (rows == 1)
            solids.append(make_ball(x, -hy - 0.008, z + step * 0.2, 0.015, 0.012, 0.015, knob))
    surface = Surface(0, 0.01, hx, hy - 0.02, height, 0.7, CABINET, 0.8)
    return Piece("cabinet", tuple(solids), (hx, hy + 0.02), height, (surface,))


def make_wardrobe(rng: np.random.Generator, palette: Palette) -> Piece:
    """Tall, with two or three doors."""
    hx, hy, height = rng.uniform(0.45, 0.8), rng.uniform(0.27, 0.3), rng.uniform(1.8, 2.1)
    body, front, knob, doors = palette.pick_wood(), palette.pick_wood(), palette.pick_metal(), int(rng.integers(2, 4))
    width = 2 * hx / doors
    solids = [make_slab(0, 0.01, 0, height, hx, hy - 0.01, body)]
    for d in range(doors):
        x = -hx + (d + 0.5) * width
        solids.append(make_slab(x, -hy + 0.008, 0.08, height - 0.03, width / 2 - 0.006, 0.008, front))
        x += (0.5 if d % 2 == 0 else -0.5) * (width - 0.1)
        solids.append(make_box(x, -hy - 0.01, 1.0, 0.01, 0.012, 0.08, knob))
    surface = Surface(0, 0, hx - 0.02, hy - 0.03, height, 0.3, ("box", "suitcase"), 0.5)
    return Piece("wardrobe", tuple(solids), (hx, hy + 0.025), height, (surface,))


def make_bed(rng: np.random.Generator, palette: Palette) -> Piece:
    """A frame with a headboard, a mattress and a blanket; pillows lie on it."""
    hx, hy, low = rng.uniform(0.45, 0.85), rng.uniform(0.97, 1.05), rng.uniform(0.22, 0.34)
    wood, head = palette.pick_wood(), rng.uniform(0.7, 1.1)
    top = low + rng.uniform(0.16, 0.24)
    reach = rng.uniform(0.38, 0.6)  # what the blanket leaves bare at the head
    solids = [
        make_slab(0, 0, 0.12, low, hx, hy, wood), *make_legs(hx, hy, 0.12, 0.04, False, wood),
        make_slab(0, hy - 0.025, 0.12, head, hx, 0.025, wood), make_slab(0, -0.03, low, top, hx - 0.02, hy - 0.04, palette.pick_white()),
        make_slab(0, -0.06 - reach / 2, low - 0.06, top + 0.025, hx + 0.01, hy - 0.05 - reach / 2, palette.pick_fabric()),
    ]  # fmt: skip
    pillows = Surface(0, hy - 0.27, hx - 0.05, 0.2, top, 0.5, ("pillow",), 1.6)
    foot = Surface(0, -0.3, hx - 0.1, 0.3, top + 0.025, 0.6, ("pillow", "book", "laptop", "suitcase"), 0.3)
    return Piece("bed", tuple(solids), (hx + 0.01, hy + 0.012), head, (pillows, foot))


def make_sofa(rng: np.random.Generator, palette: Palette) -> Piece:
    """One to three seats between arms; cushions lie on it."""
    seats = int(rng.integers(1, 4))
    cloth, seat_h, back_h = palette.pick_fabric(), rng.uniform(0.38, 0.45), rng.uniform(0.7, 0.9)
    inner, arm, hy = rng.uniform(0.27, 0.33) * seats, rng.uniform(0.06, 0.11), rng.uniform(0.38, 0.45)
    hx = inner + 2 * arm
    solids = [
        make_slab(0, 0, 0.08, seat_h - 0.12, hx, hy, cloth), make_slab(0, hy - 0.1, seat_h - 0.12, back_h, hx, 0.1, cloth),
        *make_legs(hx - 0.02, hy - 0.02, 0.08, 0.03, True, palette.pick_dark()),
    ]  # fmt: skip
    solids += [make_slab(s * (hx - arm), -0.02, 0.08, seat_h + 0.18, arm, hy - 0.02, cloth) for s in (-1, 1)]
    pad = palette.pick_fabric() if rng.random() < 0.25 else cloth
    width = 2 * inner / seats
    for i in range(seats):
        x = -inner + (i + 0.5) * width
        solids.append(make_slab(x, -0.1, seat_h - 0.12, seat_h, width / 2 - 0.006, hy - 0.1, pad))
    seat = Surface(0, -0.13, inner - 0.02, hy - 0.14, seat_h, 0.6, ("cushion", "cushion", "book", "laptop"), 0.9)
    return Piece("sofa" if seats > 1 else "armchair", tuple(solids), (hx, hy), back_h, (seat,))


def make_bench(rng: np.random.Generator, palette: Palette) -> Piece:
    """A long low seat."""
    hx, hy, height = rng.uniform(0.4, 0.7), rng.uniform(0.16, 0.22), rng.uniform(0.4, 0.48)
    wood = palette.pick_wood()
    ends = [make_slab(s * (hx - 0.08), 0, 0, height - 0.05, 0.025, hy - 0.02, wood) for s in (-1, 1)]
    solids = (make_slab(0, 0, height - 0.05, height, hx, hy, wood), *ends)
    surface = Surface(0, 0, hx, hy, height, 0.6, ("cushion", "box", "book"), 0.5)
    return Piece("bench", solids, (hx, hy), height, (surface,))


def make_fridge(rng: np.random.Generator, palette: Palette) -> Piece:
    """Two doors with long handles."""
    hx, height, split = rng.uniform(0.28, 0.33), rng.uniform(1.4, 1.85), rng.uniform(0.35, 0.65)
    body = palette.pick_white() if rng.random() < 0.6 else palette.pick_paint()
    handle = palette.pick_metal()
    solids = [make_slab(0, 0.02, 0.03, height, hx, 0.28, body)]
    for low, high in ((0.06, height * split), (height * split + 0.01, height)):
        solids.append(make_slab(0, -0.285, low, high, hx, 0.022, body))
        middle = (low + high) / 2
        solids.append(make_slab(-hx + 0.06, -0.32, middle - 0.12, middle + 0.12, 0.012, 0.015, handle))
    surface = Surface(0, 0, hx, 0.25, height, 0.4, ("box", "plant", "bowl"), 0.5)
    return Piece("fridge", tuple(solids), (hx, 0.335), height, (surface,))


def make_floor_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A foot, a pole and a shade that shines."""
    height, metal = rng.uniform(1.4, 1.75), palette.pick_metal()
    lower, upper = rng.uniform(0.16, 0.22), rng.uniform(0.1, 0.2)
    shade = make_cup(0, 0, height - 0.26, height, lower, upper, palette.pick_glow(0.9))
    solids = (make_pole(0, 0, 0, 0.025, 0.14, metal), make_pole(0, 0, 0.02, height - 0.2, 0.012, metal), shade)
    light = Light((0.0, 0.0, height + 0.05), rng.uniform(0.15, 0.35))
    return Piece("floor lamp", solids, (0.22, 0.22), height, light=light)


def make_floor_plant(rng: np.random.Generator, palette: Palette) -> Piece:
    """A large pot with a bush or a small tree."""
    height, r = rng.uniform(0.7, 1.5), rng.uniform(0.13, 0.2)
    pot, green = palette.pick_ceramic(), palette.pick_leaf()
    tall, spread = r * rng.uniform(1.4, 2.2), rng.uniform(0.2, 0.3)
    solids = [
        make_cup(0, 0, 0, tall, r * 0.75, r, pot),
        make_pole(0, 0, tall - 0.01, tall + 0.003, r * 0.9, palette.pick_dark()),
        make_pole(0, 0, tall, height * 0.8, 0.015, palette.pick_wood()),
    ]
    for _ in range(int(rng.integers(9, 18))):
        yaw, up = rng.uniform(0, 2 * np.pi), rng.uniform(tall + 0.15, height - 0.06)
        out = spread * rng.uniform(0.2, 0.6)
        turn = make_rotation_z(yaw) @ make_rotation_y(rng.uniform(-1.0, 0.3))
        size, center = spread * rng.uniform(0.3, 0.38), (out * np.cos(yaw), out * np.sin(yaw), up)
        solids.append(Solid(ELLIPSOID, center, (size, size * 0.4, 0.02), green, turn))
    return Piece("plant", tuple(solids), (spread, spread), height)


LARGE: dict[str, Callable[[np.random.Generator, Palette], Piece]] = {
    "table": make_table, "desk": make_desk, "coffee table": make_coffee_table, "chair": make_chair, "office chair": make_office_chair,
    "stool": make_stool, "shelf": make_shelf, "cabinet": make_cabinet, "wardrobe": make_wardrobe, "bed": make_bed, "sofa": make_sofa, "bench": make_bench,
    "fridge": make_fridge, "floor lamp": make_floor_lamp, "floor plant": make_floor_plant,
}  # fmt: skip
