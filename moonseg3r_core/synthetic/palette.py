"""A room's taste: which woods, fabrics, metals and paints its furniture is made of."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np

from moonseg3r_core.synthetic.textures import Color, Material


class Palette:
    """Random materials that belong to one room: two woods, one accent and a general brightness are chosen once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.woods = [self._wood_color() for _ in range(2)]
        self.hue = rng.random()
        self.vivid = rng.uniform(0.3, 0.95)

    def wood(self) -> Material:
        """Wood, or painted wood."""
        if self.rng.random() < 0.25:
            return self.paint()
        color = self.woods[int(self.rng.integers(2))]
        return self._material("wood", color, _scaled(color, self.rng.uniform(0.45, 0.7)), self.rng.uniform(0.04, 0.12))

    def paint(self) -> Material:
        """Lacquer of one color."""
        color = self.color()
        return self._material("plain", color, color)

    def white(self) -> Material:
        """Nearly white, warm or cold."""
        tone = self.rng.uniform(0.6, 0.9)
        warm = self.rng.uniform(0.9, 1.0)
        return self._material("plain", (tone, tone * (warm + 1) / 2, tone * warm), (tone, tone, tone))

    def dark(self) -> Material:
        """Nearly black."""
        tone = self.rng.uniform(0.01, 0.05)
        return self._material("plain", (tone, tone, tone * 1.1), (tone, tone, tone))

    def metal(self) -> Material:
        """Grey, black or brass."""
        tone = self.rng.choice([0.04, 0.3, 0.55])
        color = (tone, tone, tone) if self.rng.random() < 0.8 else (0.5, 0.36, 0.12)
        return self._material("plain", color, color)

    def fabric(self) -> Material:
        """Cloth: plain, striped, checked, dotted, mottled."""
        family = self._pick(("plain", "stripes", "checker", "dots", "clouds", "speckles", "patches"))
        color = self.color()
        other = self.color() if self.rng.random() < 0.5 else _scaled(color, self.rng.uniform(0.35, 0.7))
        scale = self.rng.uniform(0.06, 0.22) if family != "speckles" else self.rng.uniform(0.02, 0.05)
        return self._material(family, color, other, scale, aspect=float(self.rng.choice([1.0, 1.0, 2.0])))

    def print(self) -> Material:
        """A painting or a poster."""
        family = self._pick(("patches", "patches", "clouds", "stripes", "dots", "checker"))
        first, second = self.color(vivid=0.9), self.color(vivid=0.9)
        return self._material(family, first, second, self.rng.uniform(0.08, 0.3), aspect=self.rng.uniform(1, 3))

    def ceramic(self) -> Material:
        """Glaze: white, colored, striped or speckled."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.white()
        if kind < 0.65:
            return self.paint()
        family = "stripes" if kind < 0.8 else "speckles"
        return self._material(family, self.color(), self.color(), self.rng.uniform(0.02, 0.05))

    def cardboard(self) -> Material:
        """Brown, or a printed carton."""
        if self.rng.random() < 0.35:
            return self.print()
        tone = self.rng.uniform(0.25, 0.5)
        return self._material("clouds", (tone, tone * 0.68, tone * 0.4), (tone * 0.8, tone * 0.5, tone * 0.28), 0.1)

    def leaf(self) -> Material:
        """Some green."""
        hue, value = self.rng.uniform(0.2, 0.42), self.rng.uniform(0.12, 0.4)
        color = colorsys.hsv_to_rgb(hue, self.rng.uniform(0.5, 0.9), value)
        return self._material("clouds", color, _scaled(color, 0.5), 0.08)

    def glow(self, emission: float) -> Material:
        """A surface that shines."""
        color = (1.0, self.rng.uniform(0.8, 0.95), self.rng.uniform(0.55, 0.9))
        return replace(self._material("plain", color, color), emission=emission)

    def screen(self) -> Material:
        """A display, on or off."""
        if self.rng.random() < 0.4:
            return self.dark()
        bright, deep = self.color(vivid=0.6), _scaled(self.color(vivid=0.6), 0.25)
        return replace(self._material("patches", bright, deep, 0.07, aspect=2.0), emission=0.5)

    def floor(self) -> Material:
        """Planks, tiles, a chequered floor, stone or carpet."""
        family = self._pick(("planks", "planks", "squares", "checker", "clouds", "speckles"))
        if family == "planks":
            color = self._wood_color()
            return self._material(
                "tiles", color, _scaled(color, 0.4), self.rng.uniform(0.08, 0.2), 7.0, axis=self._flat()
            )
        color = self.color(vivid=0.3)
        other = _scaled(color, self.rng.uniform(0.3, 0.7))
        sizes = {"squares": (0.25, 0.6), "checker": (0.2, 0.5), "clouds": (0.15, 0.6), "speckles": (0.02, 0.06)}
        name = "tiles" if family == "squares" else family
        return self._material(name, color, other, self.rng.uniform(*sizes[family]), axis=self._flat())

    def wall(self, color: Color) -> Material:
        """Paint most often, else paper or bricks, around `color`."""
        family = self._pick(("plain", "plain", "plain", "clouds", "clouds", "stripes", "bricks", "bricks", "dots"))
        other = _scaled(color, self.rng.uniform(0.72, 0.92))
        if family == "bricks":
            return self._material(
                "tiles", color, _scaled(color, 0.6), self.rng.uniform(0.07, 0.12), 3.0, axis=self._flat()
            )
        return self._material(family, color, other, self.rng.uniform(0.12, 0.4), axis=2)

    def wall_color(self) -> Color:
        """Pale as a rule, saturated at times."""
        strong = self.rng.random() < 0.25
        saturation = self.rng.uniform(0.25, 0.6) if strong else self.rng.uniform(0.03, 0.4)
        return colorsys.hsv_to_rgb(
            self.rng.random(), saturation, self.rng.uniform(0.3, 0.6) if strong else self.rng.uniform(0.45, 0.9)
        )

    def color(self, vivid: float | None = None) -> Color:
        """A linear color, half the time near the room's own hue."""
        near = self.rng.random() < 0.4
        hue = (self.hue + self.rng.normal(0, 0.05)) % 1 if near else self.rng.random()
        saturation = self.rng.uniform(0, 1) * (self.vivid if vivid is None else vivid)
        return colorsys.hsv_to_rgb(
            hue, saturation, float(self.rng.choice([0.05, 0.2, 0.4, 0.6, 0.8])) * self.rng.uniform(0.7, 1.1)
        )

    def _wood_color(self) -> Color:
        value = self.rng.uniform(0.08, 0.6)
        return colorsys.hsv_to_rgb(self.rng.uniform(0.05, 0.11), self.rng.uniform(0.35, 0.75), value)

    def _flat(self) -> int:
        return int(self.rng.integers(2))

    def _pick(self, names: tuple[str, ...]) -> str:
        return names[int(self.rng.integers(len(names)))]

    def _material(
        self, family: str, a: Color, b: Color, scale: float = 0.1, aspect: float = 1.0, axis: int | None = None
    ) -> Material:
        axis = int(self.rng.integers(3)) if axis is None else axis
        return Material(family, a, b, float(scale), float(aspect), axis, 0.0, float(self.rng.uniform(0, 20)))


def _scaled(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor
