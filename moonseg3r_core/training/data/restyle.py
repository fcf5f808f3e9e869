"""Other walls, floors and light for a room."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.scene import Scene
from moonseg3r_core.synthetic.textures import Material, Materials
from moonseg3r_core.training.data.things.paints import pick_textile, pick_wall_cover


def restyle(scene: Scene, rng: np.random.Generator) -> Scene:
    """Cover some walls and the floor anew, and make some light hard."""
    palette, materials = Palette(rng), scene.materials
    for face in range(4):
        if rng.random() < 0.3:
            materials = _replace_row(materials, face, pick_wall_cover(palette))
    if rng.random() < 0.15:
        materials = _replace_row(materials, 4, pick_textile(palette))
    share = float(rng.uniform(0.25, 1.0)) if rng.random() < 0.5 else 1.0
    return replace(
        scene, materials=materials, ambient=scene.ambient * share, light_colors=scene.light_colors * (2 - share)
    )


def _replace_row(materials: Materials, row: int, material: Material) -> Materials:
    one, rest = Materials.from_materials([material]), slice(row + 1, None)
    parts = ((getattr(materials, f.name), getattr(one, f.name)) for f in fields(Materials))
    return Materials(*(torch.cat((old[:row], new, old[rest])) for old, new in parts))
