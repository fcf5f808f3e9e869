"""Masks by FastSAM (Zhao et al. 2023) through ultralytics, which the user installs: it is AGPL-3.0."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find_file

INSTALL = "python -m pip install ultralytics"

Model = Callable[..., Sequence[Any]]


def build(
    weights: str, device: torch.device, min_area: int, long_side: int, confidence: float, box_overlap: float
) -> FastSamMasks:
    """Build the model of `masks.fastsam`.

    Raises MissingDependency without ultralytics, WeightsError for weights that are missing or incomplete.
    """
    ultralytics = import_ultralytics("masks.kind=fastsam")
    model = load_fastsam(ultralytics, find_file(weights))
    return FastSamMasks(model, device, min_area, long_side, confidence, box_overlap)


class FastSamMasks:
    """Frame, Geometry -> disjoint masks, largest first; the geometry is not used.

    model: an ultralytics.FastSAM, or any callable like it. The network gets the image with `long_side` pixels along its
    longer side, and drops masks by `confidence` and `box_overlap` (IoU).
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str,
        min_area: int,
        long_side: int,
        confidence: float,
        box_overlap: float,
    ) -> None:
        self.model, self.device, self.filter = model, torch.device(device), MaskFilter(min_area)
        self.long_side, self.confidence, self.box_overlap = long_side, confidence, box_overlap

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        found = self._predict(frame.host_image)
        if found.masks is None:
            return MaskProposals.empty(*frame.size, frame.image.device)
        masks = resize_masks(found.masks.data.to(frame.image.device), frame.size)
        return self.filter(MaskProposals(masks, found.boxes.conf.to(frame.image.device, torch.float32)))

    def _predict(self, image: np.ndarray) -> Any:
        """Run ultralytics on an image (H, W, 3) uint8 RGB; it takes arrays in the order blue, green, red."""
        return self.model(
            np.ascontiguousarray(image[..., ::-1]),
            retina_masks=True,  # masks at the image's size
            imgsz=self.long_side,
            conf=self.confidence,
            iou=self.box_overlap,
            device=self.device,
            verbose=False,
        )[0]


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (M, h, w) of any type to bool ones of `size` (H, W), nearest."""
    if masks.shape[1:] == size:
        return masks > 0
    return F.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0] > 0


def import_ultralytics(what: str) -> Any:
    """Import the ultralytics package. Raises MissingDependency with its licence and the command that installs it."""
    try:
        return importlib.import_module("ultralytics")
    except ImportError as error:
        raise MissingDependency(
            f"{what} expects ultralytics, which is not here ({error}); its licence is AGPL-3.0, which binds what is "
            f"offered with it; where that suits you, run {INSTALL}"
        ) from error


def load_fastsam(ultralytics: Any, file: Path) -> Model:
    """Load the model of a file of weights. ultralytics unpickles it: use trusted files only.

    Raises InputError where it cannot be read.
    """
    try:
        return ultralytics.FastSAM(str(file))
    except Exception as error:  # the library's own
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{file} must hold FastSAM's weights for ultralytics, got ({reason}); get them again."
        ) from error
