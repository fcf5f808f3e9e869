"""Soft things: clothes, towels, cushions, shoes and bags."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_ball,
    make_box,
    make_pole,
    make_rotation_x,
    make_rotation_z,
    make_slab,
)
from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID
from moonseg3r_core.synthetic.textures import Material
from moonseg3r_core.training.data.things.paints import pick_gloss, pick_plastic, pick_textile, pick_wicker
from moonseg3r_core.training.data.things.shapes import make_piece, make_rod, make_tube, spin


def make_clothes_pile(rng: np.random.Generator, palette: Palette) -> Piece:
    """Folded clothes or towels on one another."""
    hx, hy, z, solids = rng.uniform(0.11, 0.18), rng.uniform(0.1, 0.15), 0.0, []
    for _ in range(int(rng.integers(2, 7))):
        thick, cloth = rng.uniform(0.012, 0.03), pick_textile(palette)
        x, y = rng.normal(0, 0.008, 2)
        solids += [make_slab(x, y, z, z + 2 * thick, hx - thick, hy, cloth)]
        solids += [make_rod((x - hx + thick, y - hy, z + thick), (x - hx + thick, y + hy, z + thick), thick, cloth)]
        z += 2 * thick
    return make_piece("pile of clothes", spin(rng, solids))


def make_crumpled_cloth(rng: np.random.Generator, palette: Palette) -> Piece:
    """A garment that was thrown down."""
    cloth, size = pick_textile(palette), rng.uniform(0.1, 0.22)
    solids = [make_ball(0, 0, 0.03, size, size * 0.8, 0.035, cloth)]
    for _ in range(int(rng.integers(5, 11))):
        x, y = rng.normal(0, size * 0.45, 2)
        turn = make_rotation_z(rng.uniform(0, np.pi)) @ make_rotation_x(rng.normal(0, 0.35))
        half = (size * rng.uniform(0.25, 0.6), size * rng.uniform(0.1, 0.25), rng.uniform(0.015, 0.04))
        solids.append(Solid(ELLIPSOID, (x, y, 0.04), half, cloth, turn))
    return make_piece("crumpled cloth", solids)


def make_towel_roll(rng: np.random.Generator, palette: Palette) -> Piece:
    """A rolled towel or blanket."""
    r, half, cloth = rng.uniform(0.04, 0.1), rng.uniform(0.1, 0.3), pick_textile(palette)
    core = make_rod((-half - 0.001, 0, r), (half + 0.001, 0, r), r * 0.3, palette.pick_dark())
    return make_piece("towel roll", spin(rng, [make_rod((-half, 0, r), (half, 0, r), r, cloth), core]))


def make_bolster(rng: np.random.Generator, palette: Palette) -> Piece:
    """A long or square cushion that lies."""
    hx, hy, hz, cloth = rng.uniform(0.15, 0.32), rng.uniform(0.13, 0.2), rng.uniform(0.05, 0.08), pick_textile(palette)
    inner = make_box(0, 0, hz, hx * 0.78, hy * 0.78, hz * 0.6, cloth)
    return make_piece("cushion", [make_ball(0, 0, hz, hx, hy, hz, cloth), inner])


def make_leaning_cushion(rng: np.random.Generator, palette: Palette) -> Piece:
    """A square cushion with a print, on its edge."""
    r, lean, cloth = rng.uniform(0.15, 0.24), make_rotation_x(rng.uniform(-0.6, -0.2)), pick_textile(palette)
    solids = [
        Solid(BOX, (0, 0, 0), (r * 0.85, 0.035, r * 0.85), cloth, lean),
        Solid(ELLIPSOID, (0, 0, 0), (r * 1.02, 0.08, r * 1.02), cloth, lean),
    ]
    return make_piece("cushion", solids)


def make_pouffe(rng: np.random.Generator, palette: Palette) -> Piece:
    """A low round or square seat of cloth."""
    r, height, cloth = rng.uniform(0.18, 0.3), rng.uniform(0.25, 0.42), pick_textile(palette)
    if rng.random() < 0.5:
        return make_piece("pouffe", [make_slab(0, 0, 0, height, r, r, cloth)])
    solids = [
        make_ball(0, 0, height / 2, r * 1.15, r * 1.15, height / 2, cloth),
        make_pole(0, 0, 0, height * 0.95, r * 0.75, cloth),
    ]
    return make_piece("pouffe", solids)


def make_blanket(rng: np.random.Generator, palette: Palette) -> Piece:
    """A blanket that lies flat with a fold."""
    hx, hy, cloth = rng.uniform(0.2, 0.45), rng.uniform(0.15, 0.4), pick_textile(palette)
    fold = make_slab(0, hy * 0.6, 0.015, 0.035, hx, hy * 0.4, cloth)
    return make_piece("blanket", [make_slab(0, 0, 0, 0.016, hx, hy, cloth), fold])


def make_shoe(rng: np.random.Generator, palette: Palette) -> Piece:
    """A shoe: sole, toe, shaft and laces."""
    return make_piece("shoe", spin(rng, build_shoe(rng, _pick_leather(rng, palette), palette.pick_white(), 0.0)))


def build_shoe(rng: np.random.Generator, skin: Material, sole: Material, x: float) -> list[Solid]:
    """Build the solids of one shoe, 27 cm long, beside the origin."""
    high = rng.uniform(0.0, 0.15) if rng.random() < 0.3 else 0.0
    lace = [make_box(x, -0.02 - 0.03 * i, 0.083 - 0.014 * i, 0.018, 0.003, 0.004, sole) for i in range(3)]
    return [
        make_slab(x, -0.02, 0, 0.025, 0.042, 0.125, sole), make_ball(x, -0.07, 0.03, 0.044, 0.08, 0.04, skin),
        make_slab(x, 0.05, 0.02, 0.085 + high, 0.037, 0.05, skin), make_ball(x, -0.01, 0.045, 0.04, 0.09, 0.042, skin), *lace,
        make_slab(x, 0.05, 0.085 + high, 0.0855 + high, 0.027, 0.04, Material("plain", (0.02,) * 3, (0.02,) * 3)),
    ]  # fmt: skip


def make_slippers(rng: np.random.Generator, palette: Palette) -> Piece:
    """One flat slipper with a strap."""
    sole, strap = pick_plastic(palette), pick_textile(palette)
    solids = [make_slab(0, 0, 0, 0.02, 0.042, 0.12, sole), make_ball(0, -0.04, 0.018, 0.046, 0.065, 0.034, strap)]
    return make_piece("slipper", spin(rng, solids))


def make_handbag(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bag with two straps that stands."""
    hx, hy, height, skin = (
        rng.uniform(0.1, 0.22),
        rng.uniform(0.04, 0.09),
        rng.uniform(0.16, 0.3),
        _pick_leather(rng, palette),
    )
    top, rise = hx * 0.6, rng.uniform(0.1, 0.2)
    straps = [
        rod
        for s in (-1, 1)
        for rod in make_tube(
            [(-top, s * hy * 0.8, height * 0.8), (-top * 0.8, s * hy * 0.5, height + rise), (top * 0.8, s * hy * 0.5, height + rise), (top, s * hy * 0.8, height * 0.8)],
            0.008, skin,
        )
    ]  # fmt: skip
    clasp = make_box(0, -hy, height * 0.8, 0.02, 0.006, 0.012, palette.pick_metal())
    return make_piece("handbag", [make_slab(0, 0, 0, height, hx, hy, skin), clasp, *straps])


def make_backpack(rng: np.random.Generator, palette: Palette) -> Piece:
    """A rucksack with a pocket, a lid and straps."""
    hx, height, skin = rng.uniform(0.13, 0.18), rng.uniform(0.35, 0.48), pick_textile(palette)
    other = skin if rng.random() < 0.5 else palette.pick_paint()
    straps = [
        make_box(s * hx * 0.5, 0.11, height * 0.5, 0.025, 0.012, height * 0.4, palette.pick_dark()) for s in (-1, 1)
    ]
    solids = [
        make_slab(0, 0, 0, height * 0.85, hx, 0.09, skin), make_ball(0, 0, height * 0.82, hx, 0.1, height * 0.18, skin),
        make_slab(0, -0.1, 0.02, height * 0.5, hx * 0.8, 0.03, other), make_box(0, -0.131, height * 0.45, hx * 0.7, 0.002, 0.005, palette.pick_metal()),
        *straps,
    ]  # fmt: skip
    return make_piece("backpack", solids)


def make_hat(rng: np.random.Generator, palette: Palette) -> Piece:
    """A brim and a crown with a band."""
    r, cloth = rng.uniform(0.08, 0.1), pick_wicker(palette) if rng.random() < 0.4 else pick_textile(palette)
    solids = [
        make_pole(0, 0, 0, 0.008, r * rng.uniform(1.3, 1.9), cloth), make_pole(0, 0, 0, 0.09, r, cloth, 0.85),
        make_ball(0, 0, 0.085, r * 0.85, r * 0.85, 0.03, cloth), make_pole(0, 0, 0.008, 0.03, r * 1.01, palette.pick_paint()),
    ]  # fmt: skip
    return make_piece("hat", solids)


def make_umbrella(rng: np.random.Generator, palette: Palette) -> Piece:
    """A folded umbrella that lies."""
    cloth, r = pick_textile(palette), rng.uniform(0.025, 0.04)
    solids = [
        make_rod((0, 0, r), (0.55, 0, r * 0.7), r, cloth, 0.3), make_rod((0.5, 0, r * 0.7), (0.62, 0, r * 0.7), 0.005, palette.pick_metal()),
        *make_tube([(0, 0, r), (-0.12, 0, r), (-0.16, 0.03, r), (-0.13, 0.06, r)], 0.012, pick_gloss(palette)),
    ]  # fmt: skip
    return make_piece("umbrella", spin(rng, solids))


def make_yarn(rng: np.random.Generator, palette: Palette) -> Piece:
    """A ball of wool."""
    r = rng.uniform(0.035, 0.06)
    wool = Material("stripes", palette.pick_color(), palette.pick_color(), 0.006, 2.0, int(rng.integers(3)))
    return make_piece("yarn", [make_ball(0, 0, r, r, r, r, wool)])


def _pick_leather(rng: np.random.Generator, palette: Palette) -> Material:
    kind = rng.random()
    if kind < 0.3:
        return palette.pick_dark()
    return pick_textile(palette) if kind < 0.5 else pick_gloss(palette) if kind < 0.6 else palette.pick_paint()
