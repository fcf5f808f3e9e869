"""A furnished room: primitives with materials, lights and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.synthetic.furnisher import Furnisher
from moonseg3r_core.synthetic.layout import Block, Placement, select_obstacles
from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Light, make_rotation_z
from moonseg3r_core.synthetic.primitives import Part, Primitives
from moonseg3r_core.synthetic.textures import Material, Materials

FLOOR, CEILING, WALLS = 1, 2, (3, 4, 5, 6)
STRUCTURE = (FLOOR, CEILING, *WALLS)
ROOM_IDS = (3, 4, 5, 6, 1, 2)  # of the room's faces -x, +x, -y, +y, -z, +z
MIN_KINDS = 12
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Scene:
    """A closed room and its objects. The room is the box of `size` metres whose floor's center is the origin.

    primitives, materials: of all objects; the first six materials are the room's faces -x, +x, -y, +y, -z, +z.
    lights (L, 3) positions and light_colors (L, 3); ambient (3,). names: id -> kind. structure_ids: floor, ceiling,
    walls. blocks: the obstacles on the floor.
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
        """The kinds of objects without structure."""
        return {name for number, name in self.names.items() if number not in self.structure_ids}


def furnish(seed: int) -> Scene:
    """Furnish the room of a seed with at least 12 kinds of objects. The same seed gives the same room."""
    if seed < 0:
        raise InputError(f"a room's seed is a whole number >= 0, got {seed}; for example 0.")
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        furnisher = Furnisher(rng)
        placed = furnisher.furnish()
        if len({p.piece.name for p in placed}) >= MIN_KINDS:
            return assemble(seed, furnisher.size, placed, _pick_faces(furnisher.palette), rng)
    raise RuntimeError(f"seed {seed}: no room with {MIN_KINDS} kinds of objects in {_ATTEMPTS} attempts.")


def assemble(
    seed: int, size: tuple[float, float, float], placed: Sequence[Placement], faces: Sequence[Material],
    rng: np.random.Generator,
) -> Scene:  # fmt: skip
    """Assemble a scene of placements, whose ids count up from 7; faces: the six materials of the room."""
    materials, parts = list(faces), []
    names = {FLOOR: "floor", CEILING: "ceiling", **dict.fromkeys(WALLS, "wall")}
    for number, place in enumerate(placed, start=max(STRUCTURE) + 1):
        names[number] = place.piece.name
        parts += _make_parts(place, number, materials)
    lamps = [(place, place.piece.light) for place in placed if place.piece.light is not None]
    lights, colors, ambient = _make_lights(lamps, size, rng)
    blocks = tuple(select_obstacles([place.block() for place in placed]))
    drawn = Primitives.from_parts(parts), Materials.from_materials(materials)
    return Scene(seed, size, *drawn, lights, colors, ambient, names, STRUCTURE, blocks)


def _make_parts(place: Placement, number: int, materials: list[Material]) -> list[Part]:
    """Make the parts of a placement in the world; append each of its materials once."""
    turn, parts = make_rotation_z(place.yaw), []
    rows: dict[int, int] = {}
    for solid in place.piece.solids:
        row = rows.setdefault(id(solid.material), len(materials))
        if row == len(materials):
            materials.append(solid.material)
        center = turn @ np.array(solid.center) + np.array([place.x, place.y, place.z])
        parts.append(Part(solid.kind, center, np.array(solid.half), turn @ solid.rotation, row, number, solid.taper))
    return parts


def _pick_faces(palette: Palette) -> list[Material]:
    """Pick the materials of four walls, floor and ceiling; one wall may differ."""
    color = palette.pick_wall_color()
    walls = [palette.pick_wall(color)] * 4
    if palette.rng.random() < 0.5:
        walls[int(palette.rng.integers(4))] = palette.pick_wall(palette.pick_wall_color())
    return [*walls, palette.pick_floor(), palette.pick_white()]


def _make_lights(
    lamps: Sequence[tuple[Placement, Light]], size: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Make positions and colors of the brightest four lights, and the ambient light; they sum to about 1 in mid-room."""
    bright = sorted(lamps, key=lambda lamp: -lamp[1].power)[:4]
    positions = [(*place.to_world(*light.position[:2]), place.z + light.position[2]) for place, light in bright]
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
