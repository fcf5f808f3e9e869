"""Random printed, woven and glossy materials."""

from __future__ import annotations

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.textures import Material

UP, ALONG = 2, 1  # lines of text are stacked along z on what stands, along y on what lies


def pick_text(palette: Palette, axis: int = ALONG) -> Material:
    """Pick paper with lines of text."""
    paper = palette.pick_white().a
    tone = float(palette.rng.uniform(0.02, 0.3))
    ink = (tone, tone, tone)
    return _make(palette, "text", paper, ink, (0.004, 0.011), axis=axis)


def pick_page(palette: Palette, axis: int = ALONG, size: tuple[float, float] = (0.007, 0.02)) -> Material:
    """Pick a cover, a label or a poster with headings, text and pictures."""
    a, b = palette.pick_color(vivid=0.9), palette.pick_color(vivid=0.9)
    kind = palette.rng.random()
    if kind < 0.35:
        a = palette.pick_white().a
    elif kind < 0.6:
        b = palette.pick_white().a
    return _make(palette, "page", a, b, size, axis=axis)


def pick_textile(palette: Palette) -> Material:
    """Pick a plain, checked, striped or boldly printed cloth, of any contrast."""
    kind = palette.rng.random()
    if kind < 0.3:
        return palette.pick_paint()
    if kind < 0.45:
        return palette.pick_fabric()
    a, b = palette.pick_color(vivid=0.9), palette.pick_color(vivid=0.9)
    if kind < 0.65:
        return _make(palette, "plaid", a, b, (0.008, 0.05))
    if kind < 0.85:
        return _make(palette, "bold", a, b, (0.03, 0.2))
    return _make(palette, "stripes", a, b, (0.02, 0.15), aspect=float(palette.rng.choice([1.0, 2.0, 4.0])))


def pick_gloss(palette: Palette) -> Material:
    """Pick a lacquer, plastic or metal with highlights."""
    color = palette.pick_metal().a if palette.rng.random() < 0.4 else palette.pick_color()
    bright = (color[0] * 0.4 + 0.5, color[1] * 0.4 + 0.5, color[2] * 0.4 + 0.5)
    return _make(palette, "gloss", color, bright, (0.06, 0.25))


def pick_plastic(palette: Palette) -> Material:
    """Pick black, white or colored plastic, at times with highlights."""
    kind = palette.rng.random()
    if kind < 0.3:
        return palette.pick_dark()
    if kind < 0.5:
        return palette.pick_white()
    return palette.pick_paint() if kind < 0.8 else pick_gloss(palette)


def pick_steel(palette: Palette) -> Material:
    """Pick grey metal, mostly with highlights."""
    tone = float(palette.rng.uniform(0.12, 0.5))
    bright = min(tone * 2 + 0.1, 1.0)
    return _make(palette, "gloss", (tone,) * 3, (bright,) * 3, (0.03, 0.12))


def pick_glass(palette: Palette) -> Material:
    """Pick a pale or tinted glass with highlights."""
    tint = palette.pick_color(vivid=0.35 if palette.rng.random() < 0.6 else 0.9)
    return _make(palette, "gloss", tint, (0.9, 0.92, 0.95), (0.07, 0.25))


def pick_mirror(palette: Palette) -> Material:
    """Pick what a mirror reflects."""
    wall, dim = palette.pick_wall_color(), palette.pick_color(vivid=0.4)
    return _make(palette, "skyline", wall, dim, (0.1, 0.4), axis=UP, aspect=float(palette.rng.uniform(3, 6)))


def pick_print(palette: Palette, axis: int = UP) -> Material:
    """Pick a painting, a poster or a photograph."""
    kind = palette.rng.random()
    if kind < 0.4:
        return pick_page(palette, axis, (0.012, 0.05))
    a, b = palette.pick_color(vivid=0.9), palette.pick_color(vivid=0.9)
    if kind < 0.6:
        return _make(palette, "skyline", a, b, (0.04, 0.2), axis=axis, aspect=3.0)
    return _make(palette, "bold", a, b, (0.06, 0.3)) if kind < 0.8 else palette.pick_print()


def pick_wicker(palette: Palette) -> Material:
    """Pick a weave of straw."""
    tone = float(palette.rng.uniform(0.2, 0.6))
    pale, dark = (tone, tone * 0.75, tone * 0.45), (tone * 0.45, tone * 0.3, tone * 0.15)
    return _make(palette, "checker", pale, dark, (0.008, 0.02))


def pick_wall_cover(palette: Palette) -> Material:
    """Pick glazed tiles, panels, stripes, or paper with a large print, of one color and a darker one, or of two."""
    color, kind = palette.pick_wall_color(), palette.rng.random()
    factor = float(palette.rng.uniform(0.4, 0.85))
    darker = (color[0] * factor, color[1] * factor, color[2] * factor)
    other = darker if palette.rng.random() < 0.5 else palette.pick_wall_color()
    if kind < 0.3:
        aspect = float(palette.rng.choice([1.0, 1.0, 2.0, 3.0]))
        return _make(palette, "tiles", color, other, (0.06, 0.3), axis=int(palette.rng.integers(2)), aspect=aspect)
    if kind < 0.5:
        return _make(palette, "stripes", color, other, (0.1, 0.8))
    if kind < 0.75:
        return _make(palette, "panels", color, other, (0.1, 0.8), axis=UP, aspect=float(palette.rng.uniform(1, 8)))
    return _make(palette, "bold" if kind < 0.9 else "plaid", color, other, (0.1, 0.5))


def _make(
    palette: Palette, family: str, a: tuple[float, ...], b: tuple[float, ...], size: tuple[float, float],
    axis: int | None = None, aspect: float = 1.0,
) -> Material:  # fmt: skip
    rng = palette.rng
    grain = int(rng.integers(3)) if axis is None else axis
    scale, offset = float(rng.uniform(*size)), float(rng.uniform(0, 20))
    return Material(family, (a[0], a[1], a[2]), (b[0], b[1], b[2]), scale, aspect, grain, 0.0, offset)
