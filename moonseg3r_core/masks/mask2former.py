"""Class-agnostic masks by Mask2Former (Cheng et al. 2022): one for each query of the network that finds an object."""

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

STEP = 32  # the sides of the network's input are multiples of this


def build(weights: str, precision: str, device: torch.device, **settings: Any) -> Mask2FormerMasks:
    """Build the model of `masks.mask2former`.

    Raises MissingDependency without transformers, WeightsError for weights that are missing or incomplete.
    """
    net = load_model("Mask2FormerForUniversalSegmentation", find(weights), device, precision)
    return Mask2FormerMasks(net, **settings)


class Mask2FormerMasks:
    """Frame, Geometry -> disjoint entities without their classes, largest first; the geometry is not used.

    net: transformers' Mask2FormerForUniversalSegmentation, or any network with its outputs. Its input has `short_side`
    pixels along the shorter side, or fewer where the longer one would have more than `long_side`.
    confidence, mask_threshold: as in `select_entities`.
    """

    def __init__(
        self, net: nn.Module, min_area: int, short_side: int, long_side: int, confidence: float, mask_threshold: float
    ) -> None:
        self.net, self.filter = net, MaskFilter(min_area)
        self.short_side, self.long_side = short_side, long_side
        self.confidence, self.mask_threshold = confidence, mask_threshold

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        classes, masks = self.predict_logits(frame.image)
        found = select_entities(classes, masks, frame.size, self.confidence, self.mask_threshold)
        device = frame.image.device
        return self.filter(MaskProposals(found.masks.to(device), found.scores.to(device)))

    @torch.no_grad()
    def predict_logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict each query's classes (Q, C + 1), the last of them no object, and mask (Q, h, w), float32 logits.

        image (H, W, 3) uint8 RGB.
        """
        like = next(self.net.parameters())
        size = choose_network_size(image.shape[0], image.shape[1], self.short_side, self.long_side)
        output = self.net(pixel_values=normalize_image(image.to(like.device), *size).to(like.dtype))
        return output.class_queries_logits[0].float(), output.masks_queries_logits[0].float()


def select_entities(
    classes: Tensor, masks: Tensor, size: tuple[int, int], confidence: float, threshold: float
) -> MaskProposals:
    """Select the queries that are objects, from logits of classes (Q, C + 1) and masks (Q, h, w), in their order.

    The masks have the image's `size` (H, W). A pixel is in a mask where its probability is above `threshold`. A score is
    the probability of any object times the mean probability in the mask; queries under `confidence` are left out.
    """
    objects = 1 - classes.softmax(-1)[:, -1]
    likely = objects >= confidence  # a score is never above this probability: the others' masks need no work
    probabilities = F.interpolate(masks[:, None][likely], size, mode="bilinear", align_corners=False)[:, 0].sigmoid_()
    inside = probabilities > threshold
    areas = inside.sum((1, 2)).clamp(min=1)
    scores = objects[likely] * probabilities.mul_(inside).sum((1, 2)) / areas
    confident = scores >= confidence
    return MaskProposals(inside[confident], scores[confident])


def choose_network_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Choose the height and width of the network's input: the image's shape, stretched to multiples of STEP."""
    scale = min(short_side / min(height, width), long_side / max(height, width))
    rows, columns = (max(math.ceil(round(side * scale) / STEP), 1) * STEP for side in (height, width))
    return rows, columns
