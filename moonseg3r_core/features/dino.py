"""2D features (F2d) by published vision transformers: DINOv3, as in the paper, and DINOv2; one token for each patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.io.huggingface import CONFIG, load_model
from moonseg3r_core.io.text import read_json
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import FeatureMap, Frame, Geometry, PixelGrid
from moonseg3r_core.weights import find

REGISTERS = "dinov2_with_registers"  # published as a model of its own


def build_dinov3(weights: str, precision: str, long_side: int, device: torch.device) -> DinoFeatures:
    """Build the model of `features.dinov3`.

    Raises WeightsError for weights that are missing or incomplete, MissingDependency without transformers.
    """
    return DinoFeatures(load_model("DINOv3ViTModel", find(weights), device, precision), long_side)


def build_dinov2(weights: str, precision: str, long_side: int, device: torch.device) -> DinoFeatures:
    """Build the model of `features.dinov2`, with registers or without. Raises as `build_dinov3`."""
    folder = find(weights)
    name = "Dinov2WithRegistersModel" if _read_model_type(folder) == REGISTERS else "Dinov2Model"
    return DinoFeatures(load_model(name, folder, device, precision), long_side)


def _read_model_type(folder: Path) -> str:
    """Read the model type in a folder's config.json; empty where there is none, which loading then refuses."""
    try:
        return str(read_json((folder / CONFIG).read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class DinoFeatures:
    """Frame, Geometry -> F2d (h, w, C), the patch tokens after the last norm, laid over the geometry's grid.

    The network's input is the part of the image that the geometry covers, with `long_side` pixels along its longer side
    (0: as many as the image has there), both sides rounded to whole patches. At CUT3R's size the tokens lie cell by cell
    on F3d. net: transformers' DINOv3ViTModel, Dinov2Model or Dinov2WithRegistersModel, of any size and precision.
    """

    def __init__(self, net: Any, long_side: int) -> None:
        self.net, self.long_side = net, long_side

    @torch.no_grad()
    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap:
        patch = self.net.config.patch_size
        image = crop_to_grid(frame.image, geometry.grid)
        h, w = count_patches(image.shape[0], image.shape[1], self.long_side, patch)
        pixels = normalize_image(image, h * patch, w * patch)
        tokens = self.net(pixel_values=pixels).last_hidden_state[0]
        first = 1 + getattr(self.net.config, "num_register_tokens", 0)  # behind the class token and the registers
        return FeatureMap(tokens[first:].unflatten(0, (h, w)).float())


def crop_to_grid(image: Tensor, grid: PixelGrid) -> Tensor:
    """Crop an image (H, W, 3) to what a grid's pixels cover, to the nearest whole pixel."""
    top, left = grid.offset_v + 0.5 - grid.scale_v / 2, grid.offset_u + 0.5 - grid.scale_u / 2
    bottom, right = top + grid.height * grid.scale_v, left + grid.width * grid.scale_u
    return image[max(round(top), 0) : round(bottom), max(round(left), 0) : round(right)]


def count_patches(height: int, width: int, long_side: int, patch: int) -> tuple[int, int]:
    """Count rows and columns of patches, at least one, of an image resized to `long_side`; 0: not resized."""
    scale = long_side / max(height, width) if long_side else 1.0
    rows, columns = (max(int(side * scale / patch + 0.5), 1) for side in (height, width))
    return rows, columns
