"""Materials: procedural textures of two colors, evaluated at points in a part's frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic.noise import Noise, take_fraction
from moonseg3r_core.synthetic.prints import PRINTS

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """A texture family, two linear colors in [0, 1], and the texture's size in metres.

    `aspect` is the length of a tile over its width, `axis` (0, 1, 2) the direction of the grain, `emission` the
    emitted light (of a lamp's shade, a screen, a window); `offset` shifts the texture.
    """

    family: str
    a: Color
    b: Color
    scale: float = 0.1
    aspect: float = 1.0
    axis: int = 2
    emission: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True, eq=False)
class Materials:
    """All materials of a scene as rows: family, axis (M,) int64; a, b (M, 3), numbers (M, 4) float32: scale, aspect,
    emission, offset.
    """

    family: Tensor
    axis: Tensor
    a: Tensor
    b: Tensor
    numbers: Tensor

    @classmethod
    def from_materials(cls, materials: Sequence[Material]) -> Materials:
        """Stack materials."""
        return cls(
            torch.tensor([FAMILIES.index(m.family) for m in materials], dtype=torch.int64),
            torch.tensor([m.axis for m in materials], dtype=torch.int64),
            torch.tensor([m.a for m in materials], dtype=torch.float32),
            torch.tensor([m.b for m in materials], dtype=torch.float32),
            torch.tensor([(m.scale, m.aspect, m.emission, m.offset) for m in materials], dtype=torch.float32),
        )

    def to(self, device: torch.device | str) -> Materials:
        """Copy to a device."""
        return Materials(*(t.to(device) for t in (self.family, self.axis, self.a, self.b, self.numbers)))


class Paint:
    """Materials on surfaces: surface i is made of row `rows[i]`, (S,) int64, of the materials."""

    def __init__(self, materials: Materials, rows: Tensor) -> None:
        self._noise = Noise(rows.device)
        self._numbers = torch.cat((materials.numbers, materials.a, materials.b), 1)[rows].T.contiguous()
        self._family = materials.family[rows].to(torch.uint8)
        self._families = self._family.unique().tolist()
        axes = torch.arange(3, device=rows.device)[:, None]
        self._grain = (axes + materials.axis[rows] + 1) % 3  # the grain comes last

    def __call__(self, met: Tensor, points: Tensor, normals: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Compute colors (3, N) and emission (N,) in [0, 1] of points (3, N), metres in their parts' frames, on surfaces `met`.

        Where `flat` (N,) is 1, a plane along two axes, the texture is constant along its normal (3, N).
        """
        scale, aspect, emission, offset, a, b = self._numbers.index_select(1, met).split((1, 1, 1, 1, 3, 3))
        across = normals.abs().mul_(flat).gt_(0.7)
        q = torch.lerp((points + offset).div_(scale), points.new_tensor(0.5), across)
        weight = self._compute_weights(met, q, aspect[0])
        stains = self._noise.sample_smooth((points * 2.5).add_(offset))
        return torch.lerp(a, b, weight).mul_(stains.mul_(0.24).add_(0.88)), emission[0]

    def _compute_weights(self, met: Tensor, q: Tensor, aspect: Tensor) -> Tensor:
        """Compute the second color's share (N,) at the texture's points (3, N)."""
        weight, family = torch.zeros_like(aspect), self._family.index_select(0, met)
        for number in self._families:
            mine = torch.nonzero(family == number)[:, 0] if _TEXTURES[number] is not _paint_plain else met[:0]
            if len(mine):
                grain = self._grain.index_select(1, met.index_select(0, mine)).mul_(len(met)).add_(mine)
                turned = q.flatten().index_select(0, grain.flatten()).view_as(grain)
                weight.index_copy_(0, mine, _TEXTURES[number](turned, aspect.index_select(0, mine), self._noise))
        return weight


def _paint_plain(q: Tensor, _aspect: Tensor, _noise: Noise) -> Tensor:
    return torch.zeros_like(q[0])


def _paint_checker(q: Tensor, _aspect: Tensor, _noise: Noise) -> Tensor:
    return 2 * take_fraction(q.floor().sum(0) / 2)


def _paint_stripes(q: Tensor, aspect: Tensor, _noise: Noise) -> Tensor:
    first, second = take_fraction(q[:2]).lt_(0.5 / aspect)
    return (first - second).abs()


def _paint_wood(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    bent = noise.sample_smooth(torch.cat((q[:2] * 0.7, q[2:] * 0.084)))
    rings = torch.sin((torch.hypot(q[0] + 3.3, q[1] + 1.7) * 1.6 + 2.5 * bent) * (2 * torch.pi))
    fibres = noise.sample_smooth(torch.cat((q[:2] * 9, q[2:] * 0.5)))
    return 0.35 + 0.3 * rings + 0.35 * fibres


def _paint_clouds(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    return 0.6 * noise.sample_smooth(q) + 0.4 * noise.sample_smooth(q * 2.7 + 5.1)


def _paint_speckles(q: Tensor, _aspect: Tensor, noise: Noise) -> Tensor:
    return ((noise.sample_smooth(q * 2) - 0.62) * 12).clamp(0, 1)


def _paint_tiles(q: Tensor, aspect: Tensor, noise: Noise) -> Tensor:
    """Paint tiles (aspect 1), bricks (2) or planks (6) of random tones, with dark joints and shifted rows."""
    x, y = q[:2].floor()
    along = q[2] / aspect + noise.sample_cell(x, y, torch.zeros_like(x)) * (aspect > 1)
    tone = noise.sample_cell(x, y, along.floor())
    joint = 0.03 * (1 + 1 / aspect)
    off = torch.minimum(take_fraction(q[:2]).amin(0), take_fraction(along) * aspect)
    return torch.lerp(0.55 * tone, torch.ones_like(tone), off.lt_(joint))


def _paint_dots(q: Tensor, _aspect: Tensor, _noise: Noise) -> Tensor:
    return (take_fraction(q) - 0.5).square_().sum(0).sqrt_().lt_(0.32)


def _paint_patches(q: Tensor, aspect: Tensor, noise: Noise) -> Tensor:
    """Paint overlapping rectangles of random tones, as of a painting, a quilt or a screen."""
    shift = noise.sample_cell(*(q * 0.31).floor_())
    big = noise.sample_cell(*(q * 0.47).add_(0.3).floor_())
    small = noise.sample_cell(q[0].floor(), q[1].floor(), (q[2] / aspect).floor_())
    return torch.lerp(small, big, shift.gt_(0.45))


_TEXTURES: tuple[Callable[[Tensor, Tensor, Noise], Tensor], ...] = (
    _paint_plain, _paint_checker, _paint_stripes, _paint_wood, _paint_clouds, _paint_speckles, _paint_tiles, _paint_dots, _paint_patches,
    *PRINTS.values(),
)  # fmt: skip
FAMILIES = ("plain", "checker", "stripes", "wood", "clouds", "speckles", "tiles", "dots", "patches", *PRINTS)
