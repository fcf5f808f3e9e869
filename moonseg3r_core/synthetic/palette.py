"""Random materials of a room's furniture: woods, fabrics, metals and paints."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np

from moonseg3r_core.synthetic.textures import Color, Material


class Palette:
    """Random materials of one room, which share two woods, one accent hue and a vividness."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.woods = [self._pick_wood_color() for _ in range(2)]
        self.hue = rng.random()
        self.vivid = rng.uniform(0.3, 0.95)

    def pick_wood(self) -> Material:
        """Pick wood or painted wood."""
        if self.rng.random() < 0.25:
            return self.pick_paint()
        color = self.woods[int(self.rng.integers(2))]
        other = _scale(color, self.rng.uniform(0.45, 0.7))
        return self._make_material("wood", color, other, self.rng.uniform(0.04, 0.12))

    def pick_paint(self) -> Material:
        """Pick a lacquer of one color."""
        color = self.pick_color()
        return self._make_material("plain", color, color)

    def pick_white(self) -> Material:
        """Pick a warm or cold near-white."""
        tone = self.rng.uniform(0.6, 0.9)
        warm = self.rng.uniform(0.9, 1.0)
        return self._make_material("plain", (tone, tone * (warm + 1) / 2, tone * warm), (tone, tone, tone))

    def pick_dark(self) -> Material:
        """Pick a near-black."""
        tone = self.rng.uniform(0.01, 0.05)
        return self._make_material("plain", (tone, tone, tone * 1.1), (tone, tone, tone))

    def pick_metal(self) -> Material:
        """Pick grey, black or brass."""
        tone = self.rng.choice([0.04, 0.3, 0.55])
        color = (tone, tone, tone) if self.rng.random() < 0.8 else (0.5, 0.36, 0.12)
        return self._make_material("plain", color, color)

    def pick_fabric(self) -> Material:
        """Pick a plain, striped, checked, dotted or mottled cloth."""
        family = self._pick_name(("plain", "stripes", "checker", "dots", "clouds", "speckles", "patches"))
        color = self.pick_color()
        other = self.pick_color() if self.rng.random() < 0.5 else _scale(color, self.rng.uniform(0.35, 0.7))
        scale = self.rng.uniform(0.06, 0.22) if family != "speckles" else self.rng.uniform(0.02, 0.05)
        return self._make_material(family, color, other, scale, aspect=float(self.rng.choice([1.0, 1.0, 2.0])))

    def pick_print(self) -> Material:
        """Pick a painting or a poster."""
        family = self._pick_name(("patches", "patches", "clouds", "stripes", "dots", "checker"))
        first, second = self.pick_color(vivid=0.9), self.pick_color(vivid=0.9)
        return self._make_material(family, first, second, self.rng.uniform(0.08, 0.3), aspect=self.rng.uniform(1, 3))

    def pick_ceramic(self) -> Material:
        """Pick a white, colored, striped or speckled glaze."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.pick_white()
        if kind < 0.65:
            return self.pick_paint()
        family = "stripes" if kind < 0.8 else "speckles"
        return self._make_material(family, self.pick_color(), self.pick_color(), self.rng.uniform(0.02, 0.05))

    def pick_cardboard(self) -> Material:
        """Pick a brown or printed carton."""
        if self.rng.random() < 0.35:
            return self.pick_print()
        tone = self.rng.uniform(0.25, 0.5)
        dark = (tone * 0.8, tone * 0.5, tone * 0.28)
        return self._make_material("clouds", (tone, tone * 0.68, tone * 0.4), dark, 0.1)

    def pick_leaf(self) -> Material:
        """Pick a green."""
        hue, value = self.rng.uniform(0.2, 0.42), self.rng.uniform(0.12, 0.4)
        color = colorsys.hsv_to_rgb(hue, self.rng.uniform(0.5, 0.9), value)
        return self._make_material("clouds", color, _scale(color, 0.5), 0.08)

    def pick_glow(self, emission: float) -> Material:
        """Pick an emissive surface."""
        color = (1.0, self.rng.uniform(0.8, 0.95), self.rng.uniform(0.55, 0.9))
        return replace(self._make_material("plain", color, color), emission=emission)

    def pick_screen(self) -> Material:
        """Pick a display that is on or off."""
        if self.rng.random() < 0.4:
            return self.pick_dark()
        bright, deep = self.pick_color(vivid=0.6), _scale(self.pick_color(vivid=0.6), 0.25)
        return replace(self._make_material("patches", bright, deep, 0.07, aspect=2.0), emission=0.5)

    def pick_floor(self) -> Material:
        """Pick planks, tiles, a chequered floor, stone or carpet."""
        family = self._pick_name(("planks", "planks", "squares", "checker", "clouds", "speckles"))
        if family == "planks":
            color, size = self._pick_wood_color(), self.rng.uniform(0.08, 0.2)
            return self._make_material("tiles", color, _scale(color, 0.4), size, 7.0, axis=self._pick_flat_axis())
        color = self.pick_color(vivid=0.3)
        other = _scale(color, self.rng.uniform(0.3, 0.7))
        sizes = {"squares": (0.25, 0.6), "checker": (0.2, 0.5), "clouds": (0.15, 0.6), "speckles": (0.02, 0.06)}
        name = "tiles" if family == "squares" else family
        return self._make_material(name, color, other, self.rng.uniform(*sizes[family]), axis=self._pick_flat_axis())

    def pick_wall(self, color: Color) -> Material:
        """Pick paint most often, else paper or bricks, around `color`."""
        family = self._pick_name(("plain", "plain", "plain", "clouds", "clouds", "stripes", "bricks", "bricks", "dots"))
        other = _scale(color, self.rng.uniform(0.72, 0.92))
        if family == "bricks":
            size = self.rng.uniform(0.07, 0.12)
            return self._make_material("tiles", color, _scale(color, 0.6), size, 3.0, axis=self._pick_flat_axis())
        return self._make_material(family, color, other, self.rng.uniform(0.12, 0.4), axis=2)

    def pick_wall_color(self) -> Color:
        """Pick a color, mostly pale."""
        strong = self.rng.random() < 0.25
        saturation = self.rng.uniform(0.25, 0.6) if strong else self.rng.uniform(0.03, 0.4)
        hue, value = self.rng.random(), self.rng.uniform(*((0.3, 0.6) if strong else (0.45, 0.9)))
        return colorsys.hsv_to_rgb(hue, saturation, value)

    def pick_color(self, vivid: float | None = None) -> Color:
        """Pick a linear color, at times near the room's hue."""
        near = self.rng.random() < 0.4
        hue = (self.hue + self.rng.normal(0, 0.05)) % 1 if near else self.rng.random()
        saturation = self.rng.uniform(0, 1) * (self.vivid if vivid is None else vivid)
        value = float(self.rng.choice([0.05, 0.2, 0.4, 0.6, 0.8]))
        return colorsys.hsv_to_rgb(hue, saturation, value * self.rng.uniform(0.7, 1.1))

    def _pick_wood_color(self) -> Color:
        value = self.rng.uniform(0.08, 0.6)
        return colorsys.hsv_to_rgb(self.rng.uniform(0.05, 0.11), self.rng.uniform(0.35, 0.75), value)

    def _pick_flat_axis(self) -> int:
        return int(self.rng.integers(2))

    def _pick_name(self, names: tuple[str, ...]) -> str:
        return names[int(self.rng.integers(len(names)))]

    def _make_material(
        self, family: str, a: Color, b: Color, scale: float = 0.1, aspect: float = 1.0, axis: int | None = None
    ) -> Material:
        axis = int(self.rng.integers(3)) if axis is None else axis
        return Material(family, a, b, float(scale), float(aspect), axis, 0.0, float(self.rng.uniform(0, 20)))


def _scale(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor
