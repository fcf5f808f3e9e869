"""Masks by Mask2Former (Cheng et al. 2022): one mask for each of the net's queries that sees something, whatever it is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find

STEP = 32  # what the sides of a picture are multiples of


def build(weights: str, precision: str, device: torch.device, **settings: Any) -> Mask2FormerMasks:
    """Build the model of `masks.mask2former`.

    Raises MissingDependency without transformers, WeightsError for weights that are missing or incomplete.
    """
    net = load_model("Mask2FormerForUniversalSegmentation", find(weights), device, precision)
    return Mask2FormerMasks(net, **settings)


class Mask2FormerMasks:
    """Frame, Geometry -> disjoint entities without their classes, largest first; the geometry is not looked at.

    net: transformers' Mask2FormerForUniversalSegmentation, or what speaks as it does. The image is looked at with
    `short_side` pixels along its shorter side, or fewer where the longer one would have more than `long_side`.
    confidence, mask_threshold: as `entities`.
    """

    def __init__(
        self,
        net: nn.Module,
        min_area: int,
        short_side: int,
        long_side: int,
        confidence: float,
        mask_threshold: float,
    ) -> None:
        self.net, self.filter = net, MaskFilter(min_area)
        self.short_side, self.long_side = short_side, long_side
        self.confidence, self.mask_threshold = confidence, mask_threshold

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        classes, masks = self.logits(frame.image)
        found = entities(classes, masks, frame.size, self.confidence, self.mask_threshold)
        device = frame.image.device
        return self.filter(MaskProposals(found.masks.to(device), found.scores.to(device)))

    @torch.no_grad()
    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the net says of an image (H, W, 3) uint8 RGB, float32: of each query its classes (Q, C + 1), the last of
        them no object, and its mask (Q, h, w).
        """
        like = next(self.net.parameters())
        size = inner_size(image.shape[0], image.shape[1], self.short_side, self.long_side)
        said = self.net(pixel_values=normalize_image(image.to(like.device), *size).to(like.dtype))
        return said.class_queries_logits[0].float(), said.masks_queries_logits[0].float()


def entities(
    classes: Tensor, masks: Tensor, size: tuple[int, int], confidence: float = 0.5, threshold: float = 0.5
) -> MaskProposals:
    """Queries' logits, classes (Q, C + 1) and masks (Q, h, w), as masks at an image's `size` (H, W), in their order.

    A pixel is in a mask where its probability is above `threshold`. A score is how sure the net is of any object at all
    times the mean probability in its mask; queries under `confidence` are left out.
    """
    objects = 1 - classes.softmax(-1)[:, -1]
    seen = objects >= confidence  # a score is never above it: no need to look at the others' masks
    probabilities = F.interpolate(masks[:, None][seen], size, mode="bilinear", align_corners=False)[:, 0].sigmoid_()
    inside = probabilities > threshold
    areas = inside.sum((1, 2)).clamp(min=1)
    scores = objects[seen] * probabilities.mul_(inside).sum((1, 2)) / areas
    sure = scores >= confidence
    return MaskProposals(inside[sure], scores[sure])


def inner_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width as the net looks at them: the image's shape, stretched to multiples of STEP."""
    scale = min(short_side / min(height, width), long_side / max(height, width))
    rows, columns = (max(math.ceil(round(side * scale) / STEP), 1) * STEP for side in (height, width))
    return rows, columns
