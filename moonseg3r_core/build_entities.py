"""The rooms of published models that give masks of whole entities: packages and weights found and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.masks.cropformer import (
    CropFormerFolder,
    CropFormerMasks,
    import_cropformer,
    load_predictor,
    written_masks,
)
from moonseg3r_core.masks.fastsam import FastSamMasks, import_ultralytics, load_fastsam
from moonseg3r_core.masks.mask2former import Mask2FormerMasks
from moonseg3r_core.stages import MaskModel
from moonseg3r_core.weights import find


def make_mask2former(weights: str, precision: str, device: torch.device, **room: Any) -> Mask2FormerMasks:
    """The room as `masks.mask2former` describes it. Raises MissingDependency without transformers, WeightsError for
    weights that are not there or not whole.
    """
    return Mask2FormerMasks(load_model("Mask2FormerForUniversalSegmentation", find(weights), device, precision), **room)


def make_fastsam(weights: str, device: torch.device, **room: Any) -> FastSamMasks:
    """The room as `masks.fastsam` describes it. Raises MissingDependency without ultralytics, WeightsError for weights
    that are not there or not whole.
    """
    ultralytics = import_ultralytics("masks.kind=fastsam")
    return FastSamMasks(load_fastsam(ultralytics, pickled(weights)), device, **room)


def make_cropformer(
    folder: str, project: str, net: str, weights: str, confidence: float, device: torch.device, min_area: int
) -> MaskModel:
    """The room as `masks.cropformer` describes it: the masks in `folder` where one is given, else the net, live.

    Raises WeightsError for a folder without masks or weights that are not there or not whole, MissingDependency without
    detectron2 or the authors' own code.
    """
    if folder:
        return CropFormerFolder(written_masks(Path(folder).expanduser()), min_area)
    code = import_cropformer(project)
    return CropFormerMasks(load_predictor(code, net, pickled(weights), device), min_area, confidence)


def pickled(weights: str) -> Path:
    """The one file of weights under a name or path, as their authors' own packages read them."""
    path = find(weights)
    files = [path] if path.is_file() else sorted((*path.glob("*.pt"), *path.glob("*.pth")))
    if len(files) != 1:
        raise WeightsError(f"{path} must hold one file of weights (.pt, .pth), got {len(files)}; give the file itself.")
    return files[0]
