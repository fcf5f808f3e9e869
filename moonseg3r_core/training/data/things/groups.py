"""Things that stand together, each of them an object: pieces whose solids share one frame."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, make_box, make_rotation_y, make_slab
from moonseg3r_core.training.data.things.cloth import build_shoe, make_bolster
from moonseg3r_core.training.data.things.containers import make_banana, make_fruit, make_open_bowl
from moonseg3r_core.training.data.things.dishes import (
    make_fork,
    make_knife,
    make_plate,
    make_tray,
    make_tumbler,
    make_wine_glass,
)
from moonseg3r_core.training.data.things.electronics import make_keyboard, make_mouse
from moonseg3r_core.training.data.things.paints import UP, pick_gloss, pick_page, pick_text
from moonseg3r_core.training.data.things.papers import make_packet, make_parcel
from moonseg3r_core.training.data.things.shapes import compute_bounds, make_piece, move_piece, turn_solids
from moonseg3r_core.training.data.things.toys import make_block

Group = list[Piece]


def make_book_row(rng: np.random.Generator, palette: Palette) -> Group:
    """Books side by side, each its own object; the last ones may lean."""
    books, x, tallest, deepest = [], 0.0, rng.uniform(0.17, 0.27), rng.uniform(0.07, 0.11)
    for number in range(int(rng.integers(3, 13))):
        lean = rng.uniform(0.08, 0.35) if number and rng.random() < 0.12 else 0.0
        book = _make_upright_book(rng, palette, tallest * rng.uniform(0.7, 1.0), deepest * rng.uniform(0.75, 1.0), lean)
        books.append(move_piece(book, x + book.half[0], -deepest + book.half[1], 0.0))
        x += 2 * book.half[0] + 0.001
    return books


def _make_upright_book(rng: np.random.Generator, palette: Palette, height: float, hy: float, lean: float) -> Piece:
    """Make a book that leans to the left; its back has a title, its upper edge shows paper."""
    hx, kind = rng.uniform(0.006, 0.026), rng.random()
    cover = palette.pick_paint() if kind < 0.5 else pick_page(palette, UP) if kind < 0.85 else pick_gloss(palette)
    solids = [
        make_slab(0, 0, 0, height, hx, hy, cover),
        make_slab(0, 0.003, 0.01, height + 0.0006, hx * 0.75, hy - 0.002, palette.pick_white()),
    ]
    if rng.random() < 0.6:
        solids.append(
            make_box(0, -hy, height * rng.uniform(0.3, 0.75), hx * 0.7, 0.0006, height * 0.16, pick_text(palette, UP))
        )
    return make_piece("book", turn_solids(solids, make_rotation_y(-lean)))


def make_book_stack(rng: np.random.Generator, palette: Palette) -> Group:
    """Books that lie on one another, each its own object."""
    books, z = [], 0.0
    for _ in range(int(rng.integers(2, 7))):
        hx, hy, hz = rng.uniform(0.07, 0.11), rng.uniform(0.1, 0.15), rng.uniform(0.007, 0.025)
        cover = pick_page(palette) if rng.random() < 0.6 else palette.pick_paint()
        solids = [
            make_slab(0, 0, 0, 2 * hz, hx, hy, cover),
            make_slab(0.0015, 0, 0.003, 2 * hz - 0.003, hx, hy + 0.0006, palette.pick_white()),
        ]
        books.append(
            move_piece(make_piece("book", solids), rng.normal(0, 0.008), rng.normal(0, 0.008), z, rng.normal(0, 0.15))
        )
        z += 2 * hz
    return books


def make_fruit_bowl(rng: np.random.Generator, palette: Palette) -> Group:
    """A bowl and its fruits, each an object."""
    bowl = make_open_bowl(rng, palette)
    ground = float(compute_bounds(bowl.solids[:1])[1][2])
    taken: list[tuple[np.ndarray, float]] = []
    found = [bowl]
    for _ in range(int(rng.integers(3, 9))):
        fruit = make_fruit(rng, palette) if rng.random() < 0.85 else make_banana(rng, palette)
        r = max(fruit.half)
        for _ in range(10):
            spot, room = rng.uniform(-1, 1, 2) * bowl.half[0], bowl.half[0] * 0.92 - r
            if np.hypot(*spot) < room and all(np.hypot(*(spot - s)) > r + q for s, q in taken):
                taken.append((spot, r))
                found.append(move_piece(fruit, spot[0], spot[1], ground))
                break
    return found


def make_place_setting(rng: np.random.Generator, palette: Palette) -> Group:
    """A plate with cutlery beside it and a glass."""
    plate = make_plate(rng, palette)
    r, found = plate.half[0], [plate]
    fork, knife = make_fork(rng, palette), make_knife(rng, palette)
    found.append(move_piece(fork, -r - fork.half[0] - rng.uniform(0.005, 0.03), 0))
    found.append(move_piece(knife, r + knife.half[0] + rng.uniform(0.005, 0.03), 0))
    glass = make_wine_glass(rng, palette) if rng.random() < 0.5 else make_tumbler(rng, palette)
    found.append(move_piece(glass, r * 0.6, r + glass.half[1] + 0.02))
    return [piece for piece in found if piece is plate or rng.random() < 0.85]


def make_drinks_tray(rng: np.random.Generator, palette: Palette) -> Group:
    """A tray with glasses on it."""
    tray, make_glass = make_tray(rng, palette), make_wine_glass if rng.random() < 0.4 else make_tumbler
    xs = [x for x in (-0.09, 0.0, 0.09) if rng.random() < 0.8]
    return [tray, *(move_piece(make_glass(rng, palette), x, rng.uniform(-0.04, 0.04), 0.008) for x in xs)]


def make_shoe_pair(rng: np.random.Generator, palette: Palette) -> Group:
    """Two equal shoes, each an object."""
    skin, sole, seed = (
        palette.pick_paint() if rng.random() < 0.6 else palette.pick_dark(),
        palette.pick_white(),
        int(rng.integers(1 << 31)),
    )
    pair = [make_piece("shoe", build_shoe(np.random.default_rng(seed), skin, sole, 0.0)) for _ in range(2)]
    return [
        move_piece(shoe, s * rng.uniform(0.065, 0.09), rng.normal(0, 0.02), 0.0, rng.normal(0, 0.08))
        for s, shoe in zip((-1, 1), pair, strict=True)
    ]


def make_keyboard_and_mouse(rng: np.random.Generator, palette: Palette) -> Group:
    """A keyboard with a mouse at its right."""
    keyboard, mouse = make_keyboard(rng, palette), make_mouse(rng, palette)
    return [keyboard, move_piece(mouse, keyboard.half[0] + mouse.half[0] + rng.uniform(0.02, 0.1), 0.0)]


def make_box_pile(rng: np.random.Generator, palette: Palette) -> Group:
    """Cartons or packets on one another, the smaller above."""
    make = make_parcel if rng.random() < 0.6 else make_packet
    boxes = sorted((make(rng, palette) for _ in range(int(rng.integers(2, 5)))), key=lambda b: -b.half[0] * b.half[1])
    return _stack(rng, boxes)


def make_tower(rng: np.random.Generator, palette: Palette) -> Group:
    """Building blocks on one another."""
    return _stack(rng, [make_block(rng, palette) for _ in range(int(rng.integers(2, 6)))])


def make_cushion_pile(rng: np.random.Generator, palette: Palette) -> Group:
    """Cushions that lie on one another."""
    return _stack(rng, [make_bolster(rng, palette) for _ in range(int(rng.integers(2, 4)))], 0.85)


def _stack(rng: np.random.Generator, pieces: Group, pressed: float = 1.0) -> Group:
    """Stack pieces; `pressed` is the share of a height above which the next one lies."""
    found, z = [], 0.0
    for piece in pieces:
        found.append(move_piece(piece, rng.normal(0, 0.006), rng.normal(0, 0.006), z, rng.normal(0, 0.1)))
        z += piece.height * pressed
    return found
