"""Pieces on walls and ceilings. A wall piece has its back at y = 0 and reaches upwards from z = 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Light,
    Piece,
    Solid,
    Surface,
    make_box,
    make_cup,
    make_pole,
    make_rotation_x,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import ELLIPSOID, FRUSTUM


def make_picture(rng: np.random.Generator, palette: Palette) -> Piece:
    """A framed painting."""
    hx, hz, rim = rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.4), rng.uniform(0.015, 0.04)
    frame = make_box(0, -0.012, hz, hx, 0.012, hz, palette.pick_wood())
    mat = make_box(0, -0.015, hz, hx - rim, 0.0105, hz - rim, palette.pick_white())
    canvas = make_box(0, -0.017, hz, hx - 2.2 * rim, 0.0105, hz - 2.2 * rim, palette.pick_print())
    return Piece("picture", (frame, mat, canvas), (hx, 0.028), 2 * hz, mount="wall")


def make_door(rng: np.random.Generator, palette: Palette) -> Piece:
    """A closed door with its frame, panels and a handle."""
    hx, height = rng.uniform(0.4, 0.46), rng.uniform(1.98, 2.1)
    frame, leaf = palette.pick_wood(), palette.pick_wood()
    side = float(rng.choice([-1, 1]))
    heights = ((0.2, 0.9), (1.1, height - 0.18))
    panels = [make_slab(0, -0.025, low, high, hx - 0.14, 0.008, leaf) for low, high in heights]
    solids = (
        make_slab(0, -0.015, 0, height, hx + 0.06, 0.015, frame), make_slab(0, -0.02, 0.005, height - 0.06, hx, 0.018, leaf),
        *panels[: int(rng.integers(0, 3))], make_box(side * (hx - 0.09), -0.06, 1.03, 0.06, 0.01, 0.01, palette.pick_metal()),
    )  # fmt: skip
    return Piece("door", solids, (hx + 0.06, 0.07), height, mount="wall")


def make_window(rng: np.random.Generator, palette: Palette) -> Piece:
    """Bright panes in a frame."""
    hx, hz = rng.uniform(0.4, 0.8), rng.uniform(0.45, 0.65)
    frame, sky = palette.pick_white(), palette.pick_glow(1.0)
    bars = [
        make_box(0, -0.02, hz, 0.025, 0.02, hz, frame),
        make_box(0, -0.02, 2 * hz - 0.03, hx, 0.025, 0.03, frame),
        make_slab(0, -0.05, 0.0, 0.05, hx + 0.05, 0.05, frame),
    ]
    bars += [make_box(s * (hx - 0.03), -0.02, hz, 0.03, 0.025, hz, frame) for s in (-1, 1)]
    glass = make_box(0, -0.008, hz, hx - 0.03, 0.008, hz - 0.02, sky)
    light = Light((0.0, -0.3, hz), rng.uniform(0.3, 0.7))
    return Piece("window", (glass, *bars), (hx + 0.05, 0.1), 2 * hz, light=light, mount="wall")


def make_wall_shelf(rng: np.random.Generator, palette: Palette) -> Piece:
    """A board on two brackets."""
    hx, depth, wood = rng.uniform(0.3, 0.6), rng.uniform(0.18, 0.24), palette.pick_wood()
    half, reach, kinds = depth / 2, depth * 0.35, ("books", "vase", "plant", "clock", "box", "mug", "bowl")
    brackets = [make_slab(s * hx * 0.7, -reach, 0, 0.1, 0.012, reach, palette.pick_metal()) for s in (-1, 1)]
    solids = (make_slab(0, -half, 0.1, 0.125, hx, half, wood), *brackets)
    surface = Surface(0, -half, hx, half, 0.125, 0.4, kinds, 0.9)
    return Piece("wall shelf", solids, (hx, depth), 0.53, (surface,), mount="wall")


def make_wall_clock(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round face."""
    r, across, dark = rng.uniform(0.12, 0.2), make_rotation_x(np.pi / 2), palette.pick_dark()
    solids = (
        Solid(FRUSTUM, (0, -0.02, r), (r, r, 0.02), palette.pick_paint(), across),
        Solid(FRUSTUM, (0, -0.0215, r), (r * 0.9, r * 0.9, 0.02), palette.pick_white(), across),
        make_box(0, -0.0425, r * 1.3, 0.007, 0.0015, r * 0.3, dark),
        make_box(r * 0.22, -0.0425, r, r * 0.22, 0.0015, 0.007, dark),
    )
    return Piece("wall clock", solids, (r, 0.045), 2 * r, mount="wall")


def make_whiteboard(rng: np.random.Generator, palette: Palette) -> Piece:
    """A pale board in a frame."""
    hx, hz = rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.7)
    pane = make_box(0, -0.012, hz, hx - 0.03, 0.012, hz - 0.03, palette.pick_white())
    frame = make_box(0, -0.01, hz, hx, 0.01, hz, palette.pick_metal())
    return Piece("whiteboard", (frame, pane), (hx, 0.026), 2 * hz, mount="wall")


def make_radiator(rng: np.random.Generator, palette: Palette) -> Piece:
    """A row of ribs."""
    hx, height, paint = rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.55), palette.pick_white()
    ribs = [make_slab(x, -0.07, 0, height, 0.022, 0.04, paint) for x in np.arange(-hx + 0.03, hx - 0.02, 0.06)]
    heights = ((0.05, 0.09), (height - 0.09, height - 0.05))
    pipes = [make_slab(0, -0.07, low, high, hx, 0.02, paint) for low, high in heights]
    return Piece("radiator", (*pipes, *ribs), (hx, 0.115), height, mount="wall")


def make_ceiling_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A lamp that hangs downwards from z = 0; its light is at its lower end."""
    drop, metal = rng.uniform(0.12, 0.45), palette.pick_metal()
    r = rng.uniform(0.12, 0.24)
    kind = rng.random()
    if kind < 0.4:
        shade = Solid(ELLIPSOID, (0.0, 0.0, -drop - r * 0.8), (r, r, r * 0.8), palette.pick_glow(0.95))
        low = drop + 1.6 * r
    else:
        low = drop + rng.uniform(0.15, 0.25)
        upper = r * rng.uniform(0.3, 1.0)
        shade = make_cup(0, 0, -low, -drop, r, upper, palette.pick_glow(0.9) if kind < 0.8 else palette.pick_paint())
    solids = (make_pole(0, 0, -drop, 0, 0.008, metal), make_pole(0, 0, -0.03, 0, 0.05, metal), shade)
    return Piece("ceiling lamp", solids, (r, r), low, light=Light((0.0, 0.0, -low - 0.05), 1.0), mount="ceiling")


FIXTURES: dict[str, Callable[[np.random.Generator, Palette], Piece]] = {
    "picture": make_picture, "door": make_door, "window": make_window, "wall shelf": make_wall_shelf, "wall clock": make_wall_clock,
    "whiteboard": make_whiteboard, "radiator": make_radiator, "ceiling lamp": make_ceiling_lamp,
}  # fmt: skip
