"""Furnish a room: large pieces along the walls and in the middle, then fixtures, then things on the surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moonseg3r_core.synthetic.fixtures import FIXTURES
from moonseg3r_core.synthetic.furniture import LARGE
from moonseg3r_core.synthetic.layout import CELL, Block, Placement, compute_free_plan, keep_largest, select_obstacles
from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece, Surface
from moonseg3r_core.synthetic.things import THINGS

# By the purpose of a room, the pieces at its walls and in its middle, made in this order; random ones follow.
PURPOSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "living": (("sofa", "shelf", "cabinet", "sofa", "floor lamp", "floor plant"), ("coffee table", "rug")),
    "bedroom": (("bed", "cabinet", "wardrobe", "desk", "floor lamp"), ("rug",)),
    "office": (("desk", "shelf", "desk", "cabinet", "shelf", "floor plant"), ("table",)),
    "dining": (("fridge", "cabinet", "cabinet", "shelf", "bench"), ("table",)),
    "study": (("bed", "desk", "shelf", "cabinet", "sofa"), ("rug",)),
}
WALL_EXTRAS = ("shelf", "cabinet", "sofa", "bench", "wardrobe", "desk", "floor plant", "floor lamp", "fridge", "table")
FLOOR_EXTRAS = (
    "bin", "ball", "crate", "stool", "floor plant", "chair", "suitcase", "office chair", "box", "coffee table",
)  # fmt: skip
HANGING = (
    "door", "window", "picture", "wall shelf", "wall clock", "picture", "whiteboard", "radiator", "window", "picture",
)  # fmt: skip
MIN_WALK = 0.16  # share of the floor that must stay walkable


class Furnisher:
    """Furnishes one room; a placement must intersect none before it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.palette = Palette(rng)
        self.size = (float(rng.uniform(3.6, 6.6)), float(rng.uniform(3.4, 5.6)), float(rng.uniform(2.4, 3.1)))
        self.placements: list[Placement] = []
        self.blocks: list[Block] = []
        self.free = self._compute_free_plan([])

    def furnish(self) -> list[Placement]:
        """Furnish the room; return the placements in the order of their ids."""
        walls, middle = PURPOSES[str(self.rng.choice(list(PURPOSES)))]
        self._add(self._make_ceiling_lamp())
        self._put_on_wall("door")
        for name in walls:
            self._put_at_wall(self._make(name))
        for name in middle:
            self._put_in_middle(name)
        for _ in range(int(self.rng.integers(2, 6))):
            self._put_at_wall(self._make(str(self.rng.choice(WALL_EXTRAS))))
        for name in HANGING[1 : 1 + int(self.rng.integers(5, len(HANGING)))]:
            self._put_on_wall(name)
        for place in list(self.placements):
            self._add_chairs(place)
        for _ in range(int(self.rng.integers(5, 11))):
            self._put_anywhere(self._make(str(self.rng.choice(FLOOR_EXTRAS))))
        for place in list(self.placements):
            for surface in place.piece.surfaces:
                for _ in range(int(self.rng.poisson(2.2 * surface.crowd)) + (surface.crowd > 1.5)):
                    self._put_on_surface(place, surface)
        return self.placements

    def _make(self, name: str) -> Piece:
        return (LARGE | THINGS | FIXTURES)[name](self.rng, self.palette)

    def _add(self, place: Placement) -> bool:
        self.placements.append(place)
        self.blocks.append(place.block())
        self.free &= self._compute_free_plan([place.block()])
        return True

    def _compute_free_plan(self, blocks: Sequence[Block]) -> np.ndarray:
        return compute_free_plan(self.size[0] / 2, self.size[1] / 2, select_obstacles(blocks))

    def _is_free(self, block: Block, beside: Sequence[Block] = ()) -> bool:
        half_x, half_y, height = self.size[0] / 2, self.size[1] / 2, self.size[2]
        if block.high > height - 0.02 or not block.is_within(half_x - 0.004, half_y - 0.004):
            return False
        return not any(block.overlaps(other) for other in self.blocks if other not in beside)

    def _is_passable(self, block: Block) -> bool:
        free = keep_largest(self.free & self._compute_free_plan([block]))
        return bool(free.sum() * CELL * CELL >= MIN_WALK * self.size[0] * self.size[1])

    def _put_on_floor(self, piece: Piece, x: float, y: float, yaw: float) -> bool:
        """Put a piece on the floor if its place is free and enough floor stays walkable."""
        place = Placement(piece, x, y, 0.0, yaw)
        if not self._is_free(place.block()) or not self._is_passable(place.block()):
            return False
        return self._add(place)

    def _sample_wall_pose(self, along_half: float, off: float) -> tuple[float, float, float]:
        """Sample x, y, yaw of a piece with its back to a random wall and its center `off` from it."""
        wall, half_x, half_y = int(self.rng.integers(4)), self.size[0] / 2, self.size[1] / 2
        long, deep = (half_x, half_y) if wall % 2 == 0 else (half_y, half_x)
        room = max(long - along_half - 0.02, 0.0)
        along = float(self.rng.uniform(-room, room))
        if self.rng.random() < 0.35:
            along = float(np.copysign(room, along))  # into the corner
        yaw = wall * np.pi / 2
        c, s = np.cos(yaw), np.sin(yaw)
        return c * along - s * (deep - off), s * along + c * (deep - off), yaw

    def _put_at_wall(self, piece: Piece) -> None:
        for _ in range(12):
            x, y, yaw = self._sample_wall_pose(piece.half[0], piece.half[1] + float(self.rng.uniform(0.005, 0.05)))
            if self._put_on_floor(piece, x, y, yaw):
                return

    def _put_in_middle(self, name: str) -> None:
        piece, reach = self._make(name), (0.25 * self.size[0], 0.25 * self.size[1])
        for _ in range(12):
            x, y = float(self.rng.uniform(-reach[0], reach[0])), float(self.rng.uniform(-reach[1], reach[1]))
            quarter = int(self.rng.integers(4)) * np.pi / 2
            if self._put_on_floor(piece, x, y, quarter + float(self.rng.normal(0, 0.15))):
                return

    def _put_anywhere(self, piece: Piece) -> None:
        for _ in range(12):
            x, y = (float(self.rng.uniform(-s / 2 + 0.2, s / 2 - 0.2)) for s in self.size[:2])
            if self._put_on_floor(piece, x, y, float(self.rng.uniform(0, 2 * np.pi))):
                return

    def _add_chairs(self, place: Placement) -> None:
        """Add chairs that face a table or a desk."""
        if place.piece.name not in ("table", "desk"):
            return
        hx, hy = place.piece.half
        sides = [(0.0, -1.0)] if place.piece.name == "desk" else [(0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)]
        alike = self.rng.random() < 0.7
        name = "office chair" if place.piece.name == "desk" and self.rng.random() < 0.7 else "chair"
        model = self._make(name)
        for side_x, side_y in sides:
            piece = model if alike else self._make(name)
            gap = max(piece.half) + float(self.rng.uniform(0.01, 0.15))
            x, y = place.to_world(side_x * (hx + gap), side_y * (hy + gap))
            yaw = place.yaw + float(np.arctan2(side_y, side_x)) - np.pi / 2 + float(self.rng.normal(0, 0.2))
            if self.rng.random() < 0.85:
                self._put_on_floor(piece, x, y, yaw)

    def _make_ceiling_lamp(self) -> Placement:
        piece = self._make("ceiling lamp")
        while self.size[2] - piece.height < 1.98:
            piece = self._make("ceiling lamp")
        x, y = (float(self.rng.uniform(-0.15, 0.15)) * s for s in self.size[:2])
        return Placement(piece, x, y, self.size[2], 0.0)

    def _put_on_wall(self, name: str) -> bool:
        """Something on a wall where nothing stands before it."""
        piece = self._make(name)
        top = self.size[2] - 0.1
        for _ in range(16):
            x, y, yaw = self._sample_wall_pose(piece.half[0], 0.005)
            low = {"door": 0.0, "radiator": 0.08}.get(name, float(self.rng.uniform(0.95, max(1.7, top - piece.height))))
            place = Placement(piece, x, y, low, yaw)
            block = place.block()
            if block.high <= top and self._is_free(block) and self._is_passable(block):
                return self._add(place)
        return False

    def _put_on_surface(self, place: Placement, surface: Surface) -> bool:
        name = str(self.rng.choice(surface.kinds))
        piece, own = self._make(name), place.block()
        if name == "lamp" and any(p.piece.name == "lamp" for p in self.placements[-3:]):
            return False
        for _ in range(8):
            is_turned = name in ("mug", "plant", "book")
            turn = float(self.rng.uniform(0, 2 * np.pi) if is_turned else self.rng.normal(0, 0.12))
            turn = 0.0 if name in ("books", "cushion", "pillow") else turn
            local = Block(0.0, 0.0, *piece.half, turn, 0.0, 1.0)
            reach = np.abs(local.corners).max(0)
            room = np.array([surface.half_x, surface.half_y]) - reach
            if (room < 0).any() or piece.height > surface.clearance:
                return False
            x, y = place.to_world(*(np.array([surface.x, surface.y]) + self.rng.uniform(-room, room)))
            there = Placement(piece, x, y, place.z + surface.z, place.yaw + turn)
            if self._is_free(there.block(), beside=(own,)):
                return self._add(there)
        return False
