"""Automatic masks by SAM and SAM 2: the net is asked what lies under each point of a grid over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.masks.automatic import (
    box_ious,
    boxes_of,
    mask_ious,
    point_grid,
    stability,
    suppress,
    without_crumbs,
)
from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find

_AT_ONCE = 32  # masks brought to the image's size at once
_POINTS_AT_ONCE = 48


def build_sam(**settings: Any) -> AutomaticMasks:
    """Build the model of `masks.sam`.

    Raises MissingDependency without transformers, InputError for weights that are missing or incomplete.
    """
    return _build("SamModel", Padded, **settings)


def build_sam2(**settings: Any) -> AutomaticMasks:
    """Build the model of `masks.sam2`. Raises as `build_sam`."""
    return _build("Sam2Model", Stretched, **settings)


def _build(
    name: str,
    fit: Callable[[int], Fit],
    weights: str,
    precision: str,
    device: torch.device,
    preset: str,  # `resolve` has taken its points_per_side from it
    **settings: Any,
) -> AutomaticMasks:
    net = load_model(name, find(weights), device, precision)
    fitted = fit(net.config.prompt_encoder_config.image_size)
    return AutomaticMasks(net, fitted, points_per_batch=_POINTS_AT_ONCE, **settings)


class Fit(Protocol):
    """How an image lies in the square of `side` pixels that a net looks at."""

    side: int

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that an image of `size` (H, W) takes of the square, from its upper left corner."""
        ...

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (N, 1, h, w) over the square, as logits (N, 1, H, W) over the image."""
        ...


class Padded:
    """SAM: the longer side takes the whole square, what is left below or beside the image stays empty."""

    def __init__(self, side: int) -> None:
        self.side = side

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        scale = self.side / max(size)
        height, width = (max(int(length * scale + 0.5), 1) for length in size)
        return height, width

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = self.inner(size)
        square = _resized(logits, (self.side, self.side))
        return _resized(square[..., :height, :width], size)


class Stretched:
    """SAM 2: the image takes the whole square, whatever its aspect ratio."""

    def __init__(self, side: int) -> None:
        self.side = side

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.side, self.side

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return _resized(logits, size)


class AutomaticMasks:
    """Frame, Geometry -> disjoint masks, largest first, scored by the IoU that the net predicts; the geometry is not
    looked at.

    Each point of the grid gets three masks. They pass `predicted_iou` and `stability`, then of masks whose boxes
    overlap by more than `box_overlap` the best stays (Kirillov et al. 2023, Segment Anything, section 5); holes and
    islands under `small_regions` pixels go, and so does a mask whose IoU with a better one is above `mask_overlap`.
    """

    def __init__(
        self,
        net: Any,
        fit: Fit,
        min_area: int,
        points_per_side: int,
        points_per_batch: int,
        predicted_iou: float,
        stability: float,
        box_overlap: float,
        mask_overlap: float,
        small_regions: int,
    ) -> None:
        self.net, self.fit, self.filter = net, fit, MaskFilter(min_area)
        self.grid, self.points_per_batch = point_grid(points_per_side), points_per_batch
        self.predicted_iou, self.stability = predicted_iou, stability
        self.box_overlap, self.mask_overlap, self.small_regions = box_overlap, mask_overlap, small_regions

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        device = frame.image.device
        if 0 in frame.size:
            return MaskProposals.empty(*frame.size, device)
        found = self.filter(self.distinct(self.propose(frame.image.to(self.net.device))))
        return MaskProposals(found.masks.to(device), found.scores.to(device))

    @torch.no_grad()
    def propose(self, image: Tensor) -> MaskProposals:
        """All masks of an image (H, W, 3) uint8 that the net is sure of, overlapping, in the order of the points."""
        size = (image.shape[0], image.shape[1])
        height, width = self.fit.inner(size)
        pixels = prepared(image, (height, width), self.fit.side)
        embeddings = self.net.get_image_embeddings(pixels.to(self.net.dtype))
        points = (self.grid * torch.tensor([width, height])).to(image.device)
        batches = points.split(self.points_per_batch)
        return joined([self.sure(*predict(self.net, embeddings, batch), size) for batch in batches])

    def sure(self, logits: Tensor, ious: Tensor, size: tuple[int, int]) -> MaskProposals:
        """Of masks with logits (N, h, w) over the square and predicted IoU (N,) those that the net is sure of."""
        trusted = ious > self.predicted_iou
        parts = zip(logits[trusted].split(_AT_ONCE), ious[trusted].split(_AT_ONCE), strict=True)
        return joined([self._stable(self.fit.enlarge(part[:, None].float(), size)[:, 0], iou) for part, iou in parts])

    def _stable(self, logits: Tensor, ious: Tensor) -> MaskProposals:
        kept = stability(logits) > self.stability
        return MaskProposals(logits[kept] > 0, ious[kept])

    def distinct(self, found: MaskProposals) -> MaskProposals:
        """The best of masks that mean the same, without their crumbs, best first."""
        found = suppress(found, box_ious(boxes_of(found.masks)), self.box_overlap)
        found = MaskProposals(without_crumbs(found.masks, self.small_regions), found.scores)
        return suppress(found, mask_ious(found.masks), self.mask_overlap)


def prepared(image: Tensor, inner: tuple[int, int], side: int) -> Tensor:
    """An image (H, W, 3) uint8 as the nets take it, (1, 3, side, side) float32: resized to `inner` (height, width),
    normalized, zeros below and beside it.
    """
    return pad(normalize_image(image, *inner), (0, side - inner[1], 0, side - inner[0]))


def predict(net: Any, embeddings: Any, points: Tensor) -> tuple[Tensor, Tensor]:
    """What the net sees at each of the points (P, 2), (x, y) pixels of its square: logits (3 P, h, w) and predicted IoU
    (3 P,) float32, of three masks to a point.
    """
    seen = net(image_embeddings=embeddings, input_points=points[None, :, None], multimask_output=True)
    return seen.pred_masks[0].flatten(0, 1), seen.iou_scores[0].flatten().float()


def joined(parts: list[MaskProposals]) -> MaskProposals:
    """The masks of all parts, of which there is one at least, in their order."""
    return MaskProposals(torch.cat([part.masks for part in parts]), torch.cat([part.scores for part in parts]))


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits, size, mode="bilinear", align_corners=False)
