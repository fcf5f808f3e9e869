"""The rooms of published feature models with their nets: weights found and loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from moonseg3r_core.features.dino import DinoFeatures
from moonseg3r_core.io.huggingface import CONFIG, load_model
from moonseg3r_core.io.text import read_json
from moonseg3r_core.weights import find

REGISTERS = "dinov2_with_registers"  # published as a model of its own


def make_dinov3(weights: str, precision: str, long_side: int, device: torch.device) -> DinoFeatures:
    """The room as `features.dinov3` describes it. Raises WeightsError for weights that are not there or not whole,
    MissingDependency without transformers.
    """
    return DinoFeatures(load_model("DINOv3ViTModel", find(weights), device, precision), long_side)


def make_dinov2(weights: str, precision: str, long_side: int, device: torch.device) -> DinoFeatures:
    """The room as `features.dinov2` describes it, with registers or without. Raises as `make_dinov3`."""
    folder = find(weights)
    name = "Dinov2WithRegistersModel" if _model_type(folder) == REGISTERS else "Dinov2Model"
    return DinoFeatures(load_model(name, folder, device, precision), long_side)


def _model_type(folder: Path) -> str:
    """What a folder's config.json says it is; empty where it says nothing, which loading then refuses."""
    try:
        return str(read_json((folder / CONFIG).read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
