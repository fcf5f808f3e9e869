"""The smallest training, for tests."""

import csv
from dataclasses import asdict, replace

import yaml

from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes
from moonseg3r_core.training.reconstruction.recipe import CurriculumStage, ReconstructionRecipe

SIZES = Cut3rSizes(
    enc_dim=32, enc_depth=1, enc_heads=2, dec_dim=32, dec_depth=2, dec_heads=2, state_heads=2, state_size=4,
    memory_size=4, memory_blocks=1, head="linear", image_size=48, dpt_width=8, dpt_last=4, dpt_layers=(4, 4, 4, 4),
)  # fmt: skip
TOY = ReconstructionRecipe(
    sizes=SIZES, stages=(CurriculumStage(4, 2, 2), CurriculumStage(2, 3, 2)), height=32, width=48, clip=4, rooms=3, visits=2.0, rate=1e-3,
    warmup=2, ema=0.5, held=0, held_frames=4, score_every=4, save_every=100,
)  # fmt: skip
CPU = {"device": "cpu", "precision": "32-true", "workers": 0}


def read_table(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(path.open()))


def written(path, **changes):
    """Write the toy recipe with some settings replaced."""
    path.write_text(yaml.safe_dump(asdict(replace(TOY, **changes))))
    return path
