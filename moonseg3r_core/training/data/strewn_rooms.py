"""Rooms for trainings of masks: furnished ones, most of them with more things, some of them seen from near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from moonseg3r_core.synthetic.scene import Scene, furnish
from moonseg3r_core.training.data.camera_paths import sample_camera_path
from moonseg3r_core.training.data.near_paths import sample_near_path
from moonseg3r_core.training.data.strew import strew_things
from moonseg3r_core.training.data.supports import find_supports

STREWN = 0.75  # share of rooms with more things
_NEAR = 0.4  # share of these that are seen from near
_MEMBERS = {"books": 1, "book": 2, "bowl": 1}  # primitives of one member; a bowl comes before its fruits


def make_strewn_room(seed: int, frames: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
    """Make the room of a seed and poses (frames, 4, 4) of a path through it; what is added depends on `rng`."""
    scene = split_groups(furnish(seed))
    if rng.random() >= STREWN:
        return scene, sample_camera_path(scene, frames, rng)
    near = sample_near_path(scene, find_supports(scene), frames, rng) if rng.random() < _NEAR else None
    poses, focus = near if near is not None else (sample_camera_path(scene, frames, rng), None)
    return strew_things(scene, poses[:, :3, 3], rng, focus), poses


def split_groups(scene: Scene) -> Scene:
    """Give each book of a row or a pile, and each fruit in a bowl, its own id, as a person would."""
    numbers, names = scene.primitives.object_id.clone(), dict(scene.names)
    for number, name in scene.names.items():
        if name in _MEMBERS:
            rows = torch.nonzero(scene.primitives.object_id == number)[:, 0]
            members = torch.arange(len(rows)) // _MEMBERS[name]
            for member in range(1, int(members.max()) + 1):
                own = max(names) + 1
                numbers[rows[members == member]], names[own] = own, "fruit" if name == "bowl" else "book"
    return replace(scene, primitives=replace(scene.primitives, object_id=numbers), names=names)
