"""Strew things of many kinds over a furnished room: on tables, shelves, seats, walls and the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import torch

from moonseg3r_core.synthetic.layout import Block, select_obstacles
from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, Solid, make_rotation_z
from moonseg3r_core.synthetic.primitives import Part, Primitives
from moonseg3r_core.synthetic.scene import Scene
from moonseg3r_core.synthetic.textures import Material, Materials
from moonseg3r_core.training.data.restyle import restyle
from moonseg3r_core.training.data.supports import SEATS, Support, find_supports
from moonseg3r_core.training.data.things import (
    AT_WALLS,
    FLOOR_GROUPS,
    GROUPS,
    ON_FLOORS,
    ON_SEATS,
    ON_TABLES,
    ON_WALLS,
    WALL_HEIGHTS,
)
from moonseg3r_core.training.data.things.shapes import compute_bounds, compute_reach, turn_solids

CLEAR = 0.12  # metres kept from every place of the camera
_GAP = 5e-4  # metres between what does not touch
_TRIES = 8
_CLUSTERS, _MEAN_THINGS = (6, 15), 5.0  # clusters in a room, and things of one
_Rows = TypeVar("_Rows", Primitives, Materials)
_Maker = TypeVar("_Maker")


def strew_things(scene: Scene, places: np.ndarray, rng: np.random.Generator, focus: Support | None = None) -> Scene:
    """Add tens of things, each an object, none of them around the camera's places (F, 3).

    They rest on what stands there, or hang on walls. Walls may get tiles, panels or prints, and light may be hard. On
    `focus`, if given, many things stand close together.
    """
    strewer = Strewer(restyle(scene, rng), places, rng)
    for _ in range(int(rng.integers(0, 4))):
        strewer.put_at_wall()
    for _ in range(int(rng.integers(2, 9))):
        strewer.put_on_wall()
    for _ in range(int(rng.integers(0, 4))):
        strewer.put_cluster(find_supports(strewer.scene)[-1], 2.0)
    strewer = Strewer(strewer.finish(), places, rng)
    supports = find_supports(strewer.scene)
    if focus is not None:
        for _ in range(3):
            strewer.put_cluster(focus, 8.0)
    weights = np.array([np.sqrt(s.half_x * s.half_y) * (0.4 if s.name == "floor" else 1.0) for s in supports])
    for number in rng.choice(len(supports), int(rng.integers(*_CLUSTERS)), p=weights / weights.sum()):
        strewer.put_cluster(supports[number], _MEAN_THINGS)
    return strewer.finish()


class Strewer:
    """Places things in a scene; what is placed intersects nothing before it (boxes along the axes around solids)."""

    def __init__(self, scene: Scene, places: np.ndarray, rng: np.random.Generator) -> None:
        self.scene, self.places, self.rng, self.palette = scene, places, rng, Palette(rng)
        p = scene.primitives
        rows = zip(p.kind.tolist(), p.half.numpy().astype(float), p.rotation.numpy().astype(float), strict=True)
        reach = np.array([compute_reach(*row) for row in rows]).reshape(-1, 3)
        center = p.center.numpy().astype(float)
        self._low, self._high = center - reach, center + reach
        self._parts: list[Part] = []
        self._materials: list[Material] = []
        self._names: dict[int, str] = {}
        self._blocks: list[Block] = []

    def put_cluster(self, support: Support, mean: float) -> None:
        """Put about `mean` things or groups on a support, near one another."""
        rng, half = self.rng, np.array([support.half_x, support.half_y])
        middle, spread = rng.uniform(-half, half), rng.uniform(0.05, 0.35) * (3.0 if support.name == "floor" else 1.0)
        for _ in range(1 + int(rng.poisson(mean))):
            things = self._make_things(support)
            for _ in range(_TRIES):
                if self._put_on_support(things, support, rng.normal(middle, spread)):
                    break

    def put_at_wall(self) -> None:
        """Put a large thing with its back to a wall."""
        piece = self._pick(AT_WALLS)(self.rng, self.palette)
        for _ in range(_TRIES):
            x, y, yaw = self._sample_wall_pose(piece.half[0], piece.half[1] + 0.004)
            if self._put([piece], x, y, 0.0, yaw):
                return

    def put_on_wall(self) -> None:
        """Hang something on a wall."""
        piece = self._pick(ON_WALLS)(self.rng, self.palette)
        for _ in range(_TRIES):
            x, y, yaw = self._sample_wall_pose(piece.half[0], 0.0)
            z = float(self.rng.uniform(*WALL_HEIGHTS.get(piece.name, (0.7, 1.6))))
            if self._put([piece], x, y, z, yaw):
                return

    def finish(self) -> Scene:
        """Return the scene with all that was placed."""
        scene = self.scene
        joined = _join(scene.primitives, Primitives.from_parts(self._parts))
        materials = (
            _join(scene.materials, Materials.from_materials(self._materials)) if self._materials else scene.materials
        )
        blocks = (*scene.blocks, *select_obstacles(self._blocks))
        return replace(
            scene, primitives=joined, materials=materials, names={**scene.names, **self._names}, blocks=blocks
        )

    def _make_things(self, support: Support) -> Sequence[Piece]:
        kind, is_seat = self.rng.random(), support.name in SEATS
        if support.name == "floor":
            if kind < 0.25:
                return self._pick(FLOOR_GROUPS)(self.rng, self.palette)
            return [self._pick(ON_FLOORS)(self.rng, self.palette)]
        if kind < 0.2 and not is_seat:
            return self._pick(GROUPS)(self.rng, self.palette)
        return [self._pick(ON_SEATS if is_seat and kind < 0.8 else ON_TABLES)(self.rng, self.palette)]

    def _put_on_support(self, things: Sequence[Piece], support: Support, near: np.ndarray) -> bool:
        """Put things on a support as near to a point (2,) of its plan as they have room."""
        turn = float(self.rng.uniform(0, 2 * np.pi) if self.rng.random() < 0.4 else self.rng.normal(0, 0.15))
        low, high = compute_bounds(turn_solids([s for t in things for s in t.solids], make_rotation_z(turn)))
        half = np.array([support.half_x, support.half_y])
        first, last = -half - low[:2], half - high[:2]
        if (first > last).any():
            return False
        x, y = np.clip(near, first, last)
        c, s = np.cos(support.yaw), np.sin(support.yaw)
        return self._put(things, support.x + c * x - s * y, support.y + s * x + c * y, support.z, support.yaw + turn)

    def _put(self, things: Sequence[Piece], x: float, y: float, z: float, yaw: float) -> bool:
        """Put things where nothing is, neither in the way of the camera nor outside the room."""
        placed = [turn_solids(t.solids, make_rotation_z(yaw), (x, y, z)) for t in things]
        solids = [s for one in placed for s in one]
        center = np.array([s.center for s in solids])
        reach = np.array([compute_reach(s.kind, np.array(s.half), s.rotation) for s in solids])
        low, high = center - reach, center + reach
        if not self._is_free(low, high):
            return False
        self._low, self._high = np.concatenate((self._low, low)), np.concatenate((self._high, high))
        for thing, parts in zip(things, placed, strict=True):
            self._add(thing.name, parts)
        return True

    def _is_free(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Tell whether boxes (S, 3) lie in the room, meet no other and keep off the camera."""
        x, y, z = self.scene.size
        bound = np.array([x / 2, y / 2, z - 0.02])
        if (high.max(0) > bound + 1e-6).any() or (low.min(0) < np.array([-x / 2, -y / 2, 0.0]) - 1e-6).any():
            return False
        near = ((self._low < high.max(0)) & (self._high > low.min(0))).all(1)
        meets = (self._low[near] + _GAP < high[:, None]) & (self._high[near] - _GAP > low[:, None])
        if meets.all(2).any():
            return False
        off = np.maximum(np.maximum(low - self.places[:, None], self.places[:, None] - high), 0)
        return bool(np.linalg.norm(off, axis=2).min() > CLEAR)

    def _add(self, name: str, solids: Sequence[Solid]) -> None:
        """Add one object."""
        number = max(self.scene.names) + len(self._names) + 1
        rows: dict[int, int] = {}
        self._names[number] = name
        for solid in solids:
            row = rows.setdefault(id(solid.material), len(self.scene.materials.family) + len(self._materials))
            if row == len(self.scene.materials.family) + len(self._materials):
                self._materials.append(solid.material)
            center, half = np.array(solid.center), np.array(solid.half)
            self._parts.append(Part(solid.kind, center, half, solid.rotation, row, number, solid.taper))
        low, high = compute_bounds(solids)
        (x, y, _), (hx, hy, _) = (low + high) / 2, (high - low) / 2
        self._blocks.append(Block(x, y, hx, hy, 0.0, low[2], high[2]))

    def _sample_wall_pose(self, along_half: float, off: float) -> tuple[float, float, float]:
        """Sample x, y, yaw of something whose back is to a random wall and whose origin is `off` from it."""
        wall, x, y = int(self.rng.integers(4)), self.scene.size[0] / 2, self.scene.size[1] / 2
        long, deep = (x, y) if wall % 2 == 0 else (y, x)
        room = max(long - along_half - 0.02, 0.0)
        along, yaw = float(self.rng.uniform(-room, room)), wall * np.pi / 2
        c, s = np.cos(yaw), np.sin(yaw)
        return c * along - s * (deep - off), s * along + c * (deep - off), yaw

    def _pick(self, makers: Sequence[_Maker]) -> _Maker:
        return makers[int(self.rng.integers(len(makers)))]


def _join(first: _Rows, second: _Rows) -> _Rows:
    """Append rows to rows."""
    return type(first)(*(torch.cat((getattr(first, f.name), getattr(second, f.name))) for f in fields(first)))
