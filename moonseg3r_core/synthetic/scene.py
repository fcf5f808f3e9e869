"""A furnished room: primitives with materials, lights, and who is who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.synthetic.furnisher import Furnisher
from moonseg3r_core.synthetic.layout import Block, Placed, in_the_way
from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Light, rotation_z
from moonseg3r_core.synthetic.primitives import Part, Primitives
from moonseg3r_core.synthetic.textures import Material, Materials

FLOOR, CEILING, WALLS = 1, 2, (3, 4, 5, 6)
STRUCTURE = (FLOOR, CEILING, *WALLS)
ROOM_IDS = (3, 4, 5, 6, 1, 2)  # of the room's faces -x, +x, -y, +y, -z, +z
MIN_KINDS = 12
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Scene:
    """A closed room and what stands in it. The room is the box of `size` metres whose floor's center is the origin.

    primitives, materials: what is drawn; the first six materials are the room's faces -x, +x, -y, +y, -z, +z.
    lights (L, 3) positions and light_colors (L, 3); ambient (3,). names: id -> kind. structure_ids: floor, ceiling,
    walls. blocks: what a walker must go round.
    """

    seed: int
    size: tuple[float, float, float]
    primitives: Primitives
    materials: Materials
    lights: Tensor
    light_colors: Tensor
    ambient: Tensor
    names: Mapping[int, str]
    structure_ids: tuple[int, ...]
    blocks: tuple[Block, ...]

    @property
    def kinds(self) -> set[str]:
        """The kinds of objects, structure left out."""
        return {name for number, name in self.names.items() if number not in self.structure_ids}


def furnish(seed: int) -> Scene:
    """The room of a seed: of any size and purpose, with at least 12 kinds of objects. The same seed, the same room."""
    if seed < 0:
        raise InputError(f"a room's seed is a whole number >= 0, got {seed}; for example 0.")
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        furnisher = Furnisher(rng)
        placed = furnisher.furnish()
        if len({p.piece.name for p in placed}) >= MIN_KINDS:
            return assemble(seed, furnisher.size, placed, _faces(furnisher.taste), rng)
    raise RuntimeError(f"seed {seed}: no room with {MIN_KINDS} kinds of objects in {_ATTEMPTS} attempts.")


def assemble(
    seed: int,
    size: tuple[float, float, float],
    placed: Sequence[Placed],
    faces: Sequence[Material],
    rng: np.random.Generator,
) -> Scene:
    """A scene from placed pieces: ids count up from 7 in their order; faces: the six materials of the room."""
    materials, parts = list(faces), []
    names = {FLOOR: "floor", CEILING: "ceiling", **dict.fromkeys(WALLS, "wall")}
    for number, place in enumerate(placed, start=max(STRUCTURE) + 1):
        names[number] = place.piece.name
        parts += _parts(place, number, materials)
    lamps = [(place, place.piece.light) for place in placed if place.piece.light is not None]
    lights, colors, ambient = _lighting(lamps, size, rng)
    blocks = tuple(in_the_way([place.block() for place in placed]))
    drawn = Primitives.of(parts), Materials.of(materials)
    return Scene(seed, size, *drawn, lights, colors, ambient, names, STRUCTURE, blocks)


def _parts(place: Placed, number: int, materials: list[Material]) -> list[Part]:
    """A placed piece's solids in the world; their materials are appended once each."""
    turn, parts = rotation_z(place.yaw), []
    rows: dict[int, int] = {}
    for solid in place.piece.solids:
        row = rows.setdefault(id(solid.material), len(materials))
        if row == len(materials):
            materials.append(solid.material)
        center = turn @ np.array(solid.center) + np.array([place.x, place.y, place.z])
        parts.append(Part(solid.kind, center, np.array(solid.half), turn @ solid.rotation, row, number, solid.taper))
    return parts


def _faces(taste: Palette) -> list[Material]:
    """Four walls of one paint, at times one of another; a floor; a pale ceiling."""
    color = taste.wall_color()
    walls = [taste.wall(color)] * 4
    if taste.rng.random() < 0.5:
        walls[int(taste.rng.integers(4))] = taste.wall(taste.wall_color())
    return [*walls, taste.floor(), taste.white()]


def _lighting(
    lamps: Sequence[tuple[Placed, Light]], size: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and colors of the brightest four lights, and the ambient light: together about one in mid-room."""
    bright = sorted(lamps, key=lambda lamp: -lamp[1].power)[:4]
    positions = [_light_position(place, light) for place, light in bright]
    reach = (size[0] * size[1] * size[2]) ** (2 / 3)
    powers = np.array([light.power for _, light in bright])
    powers = powers / max(powers.sum(), 1e-6) * rng.uniform(0.18, 0.4) * reach
    warm = np.stack([np.ones(len(bright)), rng.uniform(0.82, 1.0, len(bright)), rng.uniform(0.6, 1.0, len(bright))], -1)
    ambient = rng.uniform(0.18, 0.45) * np.array([1.0, rng.uniform(0.92, 1.0), rng.uniform(0.85, 1.05)])
    return (
        torch.tensor(np.array(positions, dtype=np.float32).reshape(-1, 3)),
        torch.tensor((powers[:, None] * warm).astype(np.float32).reshape(-1, 3)),
        torch.tensor(ambient.astype(np.float32)),
    )


def _light_position(place: Placed, light: Light) -> tuple[float, float, float]:
    x, y = place.to_world(light.position[0], light.position[1])
    return x, y, place.z + light.position[2]
