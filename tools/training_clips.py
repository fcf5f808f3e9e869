"""A contact sheet of a training's input: augmented clips of its stream, a row each, with the depth of one frame.

python tools/training_clips.py config/train_nano.yaml docs/training_clips.jpg
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from moonseg3r_core.training.common.recipe import read_recipe
from moonseg3r_core.training.reconstruction.recipe import CurriculumStage, ReconstructionRecipe
from moonseg3r_core.training.reconstruction.stream import ClipStream

ROWS, FRAMES = 5, 6
FAR = 6.0  # metres, drawn darkest


def main(recipe: Path, file: Path) -> None:
    """Draw the first batch of a recipe's stream, with ROWS windows of FRAMES frames."""
    shown = replace(
        read_recipe(ReconstructionRecipe, recipe), stages=(CurriculumStage(1, FRAMES, ROWS),), rooms=2 * ROWS
    )
    batch = next(iter(ClipStream(shown, torch.device("cpu"), workers=0)))
    rows = [draw_row(views, depth[-1]) for views, depth in zip(batch.views, batch.depth, strict=True)]
    cv2.imwrite(str(file), np.vstack(rows)[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 82))


def draw_row(views: Tensor, depth: Tensor) -> np.ndarray:
    """Draw views (T, 3, H, W) in [-1, 1] and the depth (H, W) of the last one side by side: (H, (T + 1) * W, 3) uint8."""
    images = ((views + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    shaded = (colormaps["viridis_r"](depth.numpy() / FAR)[..., :3] * 255).astype(np.uint8)
    return np.hstack([*images, shaded])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
