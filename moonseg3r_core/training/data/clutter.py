"""Clutter: thin and near things at random places of a room, for what depth nets learn from."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, Part, Primitives
from moonseg3r_core.synthetic.scene import Scene

_MOST = 24  # pieces
_THIN = 0.4  # share of rods
_CLEAR = 0.12  # metres kept from every place of the camera
_FIRST_ID = 100_000


def add_clutter(scene: Scene, places: np.ndarray, rng: np.random.Generator) -> Scene:
    """Add up to 24 pieces to a room, none of them around the camera's places (F, 3)."""
    pieces = [_sample_piece(scene, number, rng) for number in range(int(rng.integers(_MOST + 1)))]
    clear = [p for p in pieces if np.linalg.norm(places - p.center, axis=1).min() > np.linalg.norm(p.half) + _CLEAR]
    added = Primitives.from_parts(clear)
    joined = (torch.cat((getattr(scene.primitives, f.name), getattr(added, f.name))) for f in fields(Primitives))
    return replace(scene, primitives=Primitives(*joined))


def _sample_piece(scene: Scene, number: int, rng: np.random.Generator) -> Part:
    """Sample a rod, box, ellipsoid or cone, of a material that the room has."""
    half = np.exp(rng.uniform(np.log(0.02), np.log(0.25), 3))
    if rng.random() < _THIN:
        half = np.array([1.0, 1.0, 0.0]) * rng.uniform(0.005, 0.025) + np.array([0.0, 0.0, rng.uniform(0.1, 0.7)])
    x, y, z = scene.size
    center = rng.uniform((-x / 2, -y / 2, 0.0), (x / 2, y / 2, z))
    kind = int(rng.choice([BOX, ELLIPSOID, FRUSTUM]))
    turn = Rotation.random(random_state=int(rng.integers(1 << 31))).as_matrix()
    material = int(rng.integers(len(scene.materials.family)))
    return Part(kind, center, half, turn, material, _FIRST_ID + number, float(rng.uniform(0, 1)))
