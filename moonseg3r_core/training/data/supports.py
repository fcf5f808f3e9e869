"""Level tops in a room on which things may rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moonseg3r_core.synthetic.primitives import BOX, FRUSTUM
from moonseg3r_core.synthetic.scene import FLOOR, Scene

SEATS = frozenset({"sofa", "armchair", "bed", "bench", "chair", "stool", "pouffe", "slatted chair"})
_BEARERS = SEATS | {
    "table", "desk", "coffee table", "shelf", "cabinet", "wardrobe", "fridge", "wall shelf", "crate", "box", "book",
    "rug", "suitcase", "chest of drawers", "kitchen counter", "side table", "microwave", "cupboard", "parcel", "printer",
}  # fmt: skip
_LEAST = 0.06  # metres, half extents of a top
_HIGHEST = 1.8
_SQUARE = 0.68  # half the side of a square within a circle, over the radius


@dataclass(frozen=True)
class Support:
    """A rectangle around (x, y) at height z of the object `number`, whose kind is `name`."""

    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    yaw: float
    number: int
    name: str


def find_supports(scene: Scene) -> list[Support]:
    """Find the level tops of furniture, then the floor."""
    p = scene.primitives
    kind, number, turn = p.kind.numpy(), p.object_id.numpy(), p.rotation.numpy().astype(float)
    half, center, taper = p.half.numpy().astype(float), p.center.numpy().astype(float), p.taper.numpy()
    upright = np.abs(turn[:, 2, 2]) > 0.9999
    radius = half[:, 0] * np.where(turn[:, 2, 2] > 0, taper, 1.0) * _SQUARE
    is_cone = kind == FRUSTUM
    sides = np.where(is_cone[:, None], radius[:, None], half[:, :2])
    top = center[:, 2] + half[:, 2]
    found = upright & ((kind == BOX) | is_cone) & (sides.min(1) > _LEAST) & (top < _HIGHEST)
    yaw = np.where(is_cone, 0.0, np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    tops = []
    for row in np.flatnonzero(found):
        (x, y, _), (half_x, half_y), owner = center[row], sides[row], int(number[row])
        tops.append(Support(x, y, top[row], half_x, half_y, yaw[row], owner, scene.names[owner]))
    floor = Support(0.0, 0.0, 0.0, scene.size[0] / 2, scene.size[1] / 2, 0.0, FLOOR, "floor")
    return [*(s for s in tops if s.name in _BEARERS), floor]
