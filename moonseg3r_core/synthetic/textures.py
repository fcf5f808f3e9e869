"""Materials: procedural textures of two colors, evaluated at points in a part's own frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Color = tuple[float, float, float]
_VOLUME = 32  # edge of the periodic lattice that all noise is read from


@dataclass(frozen=True)
class Material:
    """What a part is made of: a texture family, two linear colors in [0, 1], and the texture's size in metres.

    `aspect` is the length of a tile over its width, `axis` (0, 1, 2) the direction of the grain, `emission` the light
    that the surface sends out itself (a lamp's shade, a screen, a window); `offset` shifts the texture.
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
    def of(cls, materials: Sequence[Material]) -> Materials:
        """Materials as tensors."""
        return cls(
            torch.tensor([FAMILIES.index(m.family) for m in materials], dtype=torch.int64),
            torch.tensor([m.axis for m in materials], dtype=torch.int64),
            torch.tensor([m.a for m in materials], dtype=torch.float32),
            torch.tensor([m.b for m in materials], dtype=torch.float32),
            torch.tensor([(m.scale, m.aspect, m.emission, m.offset) for m in materials], dtype=torch.float32),
        )

    def to(self, device: torch.device | str) -> Materials:
        """The same on another device."""
        return Materials(*(t.to(device) for t in (self.family, self.axis, self.a, self.b, self.numbers)))


def lattice(seed: int = 0) -> Tensor:
    """The periodic random numbers in [0, 1) (32, 32, 32) that noise is read from."""
    return torch.rand(_VOLUME, _VOLUME, _VOLUME, generator=torch.Generator().manual_seed(seed))


def albedo(materials: Materials, rows: Tensor, points: Tensor, normals: Tensor, flat: Tensor, noise: Tensor) -> Tensor:
    """Colors (N, 3) in [0, 1] of points (N, 3), metres in their parts' frames, of the materials in `rows` (N,).

    Where `flat` (N,) the surface is a plane along two axes: the texture has no say across it (normals (N, 3)).
    """
    numbers = materials.numbers[rows]
    grain = (torch.arange(3, device=points.device) + materials.axis[rows, None] + 1) % 3  # the grain comes last
    q = (points.gather(1, grain) + numbers[:, 3:]) / numbers[:, :1]
    across = flat[:, None] & (normals.gather(1, grain).abs() > 0.7)
    q = torch.where(across, 0.5, q)
    family = materials.family[rows]
    weight = torch.zeros(len(points), device=points.device)
    for number, texture in enumerate(_TEXTURES):
        mine = torch.nonzero(family == number)[:, 0]
        if len(mine):
            weight[mine] = texture(q[mine], numbers[mine, 1], noise)
    color = torch.lerp(materials.a[rows], materials.b[rows], weight[:, None])
    stains = smooth_noise(points * 2.5 + numbers[:, 3:], noise)
    return color * (0.88 + 0.24 * stains[:, None])


def smooth_noise(points: Tensor, noise: Tensor) -> Tensor:
    """Trilinear noise in [0, 1] (N,) at points (N, 3) in lattice cells, periodic."""
    grid = torch.nn.functional.pad(noise[None, None], (0, 1, 0, 1, 0, 1), mode="circular")
    where = torch.remainder(points, _VOLUME) / _VOLUME * 2 - 1
    return torch.nn.functional.grid_sample(grid, where[None, None, None], align_corners=True).reshape(-1)


def cell_noise(*cells: Tensor, noise: Tensor) -> Tensor:
    """One number in [0, 1) per integer cell."""
    i, j, k = (c.long() for c in cells)
    return noise[(i + 7 * j + 3) % _VOLUME, (j + 5 * k + 11) % _VOLUME, (k + 3 * i + 19) % _VOLUME]


def _plain(q: Tensor, _aspect: Tensor, _noise: Tensor) -> Tensor:
    return torch.zeros(len(q), device=q.device)


def _checker(q: Tensor, _aspect: Tensor, _noise: Tensor) -> Tensor:
    return torch.remainder(torch.floor(q).sum(-1), 2)


def _stripes(q: Tensor, aspect: Tensor, _noise: Tensor) -> Tensor:
    first = torch.remainder(q[:, 0], 1) < 0.5 / aspect
    second = torch.remainder(q[:, 1], 1) < 0.5 / aspect
    return (first ^ second).float()


def _wood(q: Tensor, _aspect: Tensor, noise: Tensor) -> Tensor:
    stretched = q * torch.tensor([1.0, 1.0, 0.12], device=q.device)
    bent = smooth_noise(stretched * 0.7, noise)
    rings = torch.sin((torch.hypot(q[:, 0] + 3.3, q[:, 1] + 1.7) * 1.6 + 2.5 * bent) * 2 * torch.pi)
    fibres = smooth_noise(q * torch.tensor([9.0, 9.0, 0.5], device=q.device), noise)
    return 0.35 + 0.3 * rings + 0.35 * fibres


def _clouds(q: Tensor, _aspect: Tensor, noise: Tensor) -> Tensor:
    return 0.6 * smooth_noise(q, noise) + 0.4 * smooth_noise(q * 2.7 + 5.1, noise)


def _speckles(q: Tensor, _aspect: Tensor, noise: Tensor) -> Tensor:
    return ((smooth_noise(q * 2, noise) - 0.62) * 12).clamp(0, 1)


def _tiles(q: Tensor, aspect: Tensor, noise: Tensor) -> Tensor:
    """Tiles (aspect 1), bricks (2), planks (6): each of its own tone, with dark joints; rows are shifted at random."""
    rows = torch.floor(q[:, :2])
    shift = cell_noise(rows[:, 0], rows[:, 1], torch.zeros_like(rows[:, 0]), noise=noise) * (aspect > 1)
    along = q[:, 2] / aspect + shift
    tone = cell_noise(rows[:, 0], rows[:, 1], torch.floor(along), noise=noise)
    joint = 0.03 * (1 + 1 / aspect)
    off = torch.stack((torch.remainder(q[:, 0], 1), torch.remainder(q[:, 1], 1), torch.remainder(along, 1)), -1)
    width = torch.stack((joint, joint, joint / aspect), -1)
    return torch.where((off < width).any(-1), 1.0, 0.55 * tone)


def _dots(q: Tensor, _aspect: Tensor, _noise: Tensor) -> Tensor:
    return ((torch.remainder(q, 1) - 0.5).norm(dim=-1) < 0.32).float()


def _patches(q: Tensor, aspect: Tensor, noise: Tensor) -> Tensor:
    """Rectangles of many tones beside and over one another: a painting, a quilt, the windows of a screen."""
    shift = cell_noise(*torch.floor(q * 0.31).unbind(-1), noise=noise)
    big = cell_noise(*torch.floor(q * 0.47 + 0.3).unbind(-1), noise=noise)
    small = cell_noise(*torch.floor(torch.stack((q[:, 0], q[:, 1], q[:, 2] / aspect), -1)).unbind(-1), noise=noise)
    return torch.where(shift > 0.45, big, small)


_TEXTURES: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _plain, _checker, _stripes, _wood, _clouds, _speckles, _tiles, _dots, _patches,
)  # fmt: skip
FAMILIES = ("plain", "checker", "stripes", "wood", "clouds", "speckles", "tiles", "dots", "patches")
