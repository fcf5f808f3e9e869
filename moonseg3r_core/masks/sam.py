"""Automatic masks by SAM and SAM 2, prompted with each point of a grid over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.masks.automatic import (
    compute_box_ious,
    compute_boxes,
    compute_mask_ious,
    compute_stability,
    make_point_grid,
    remove_small_regions,
    suppress,
)
from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find

_MASKS_AT_ONCE = 32  # enlarged to the image's size at once
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
    """The mapping between an image and the square of `side` pixels that is the network's input."""

    side: int

    def compute_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Compute the (height, width) that an image of `size` (H, W) takes of the square, from its upper left corner."""
        ...

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resample logits (N, 1, h, w) over the square to logits (N, 1, H, W) over the image."""
        ...


class Padded:
    """SAM: the image's longer side fills the square; the rest below or beside it stays empty."""

    def __init__(self, side: int) -> None:
        self.side = side

    def compute_size(self, size: tuple[int, int]) -> tuple[int, int]:
        scale = self.side / max(size)
        height, width = (max(int(length * scale + 0.5), 1) for length in size)
        return height, width

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = self.compute_size(size)
        square = _resize(logits, (self.side, self.side))
        return _resize(square[..., :height, :width], size)


class Stretched:
    """SAM 2: the image is stretched to the whole square."""

    def __init__(self, side: int) -> None:
        self.side = side

    def compute_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.side, self.side

    def enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return _resize(logits, size)


class AutomaticMasks:
    """Frame, Geometry -> disjoint masks, largest first, scored by the predicted IoU; the geometry is not used.

    Each point of the grid gets three masks. Those above `predicted_iou` and `stability` pass. Of masks whose boxes
    overlap by more than `box_overlap` the best stays (Kirillov et al. 2023, Segment Anything, section 5). Holes and
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
        self.grid, self.points_per_batch = make_point_grid(points_per_side), points_per_batch
        self.predicted_iou, self.stability = predicted_iou, stability
        self.box_overlap, self.mask_overlap, self.small_regions = box_overlap, mask_overlap, small_regions

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        device = frame.image.device
        found = self.filter(self.remove_duplicates(self.propose(frame.image.to(self.net.device))))
        return MaskProposals(found.masks.to(device), found.scores.to(device))

    @torch.no_grad()
    def propose(self, image: Tensor) -> MaskProposals:
        """Propose all confident masks of an image (H, W, 3) uint8, overlapping, in the order of the points."""
        size = (image.shape[0], image.shape[1])
        height, width = self.fit.compute_size(size)
        pixels = prepare_image(image, (height, width), self.fit.side)
        embeddings = self.net.get_image_embeddings(pixels.to(self.net.dtype))
        points = (self.grid * torch.tensor([width, height])).to(image.device)
        batches = points.split(self.points_per_batch)
        return join_proposals([self.select_confident(*predict(self.net, embeddings, batch), size) for batch in batches])

    def select_confident(self, logits: Tensor, ious: Tensor, size: tuple[int, int]) -> MaskProposals:
        """Select the confident and stable masks, from logits (N, h, w) over the square and predicted IoU (N,)."""
        confident = ious > self.predicted_iou
        parts = zip(logits[confident].split(_MASKS_AT_ONCE), ious[confident].split(_MASKS_AT_ONCE), strict=True)
        return join_proposals(
            [self._select_stable(self.fit.enlarge(part[:, None].float(), size)[:, 0], iou) for part, iou in parts]
        )

    def _select_stable(self, logits: Tensor, ious: Tensor) -> MaskProposals:
        kept = compute_stability(logits) > self.stability
        return MaskProposals(logits[kept] > 0, ious[kept])

    def remove_duplicates(self, found: MaskProposals) -> MaskProposals:
        """Remove duplicate masks and their small regions; the best masks come first."""
        found = suppress(found, compute_box_ious(compute_boxes(found.masks)), self.box_overlap)
        found = MaskProposals(remove_small_regions(found.masks, self.small_regions), found.scores)
        return suppress(found, compute_mask_ious(found.masks), self.mask_overlap)


def prepare_image(image: Tensor, inner: tuple[int, int], side: int) -> Tensor:
    """Prepare an image (H, W, 3) uint8 as the network's input (1, 3, side, side) float32.

    It is resized to `inner` (height, width), normalized, and padded with zeros below and beside.
    """
    return pad(normalize_image(image, *inner), (0, side - inner[1], 0, side - inner[0]))


def predict(net: Any, embeddings: Any, points: Tensor) -> tuple[Tensor, Tensor]:
    """Predict three masks at each of points (P, 2), (x, y) pixels of the square.

    Returns logits (3 P, h, w) and predicted IoU (3 P,) float32.
    """
    output = net(image_embeddings=embeddings, input_points=points[None, :, None], multimask_output=True)
    return output.pred_masks[0].flatten(0, 1), output.iou_scores[0].flatten().float()


def join_proposals(parts: list[MaskProposals]) -> MaskProposals:
    """Join the masks of one part or more, in their order."""
    return MaskProposals(torch.cat([part.masks for part in parts]), torch.cat([part.scores for part in parts]))


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits, size, mode="bilinear", align_corners=False)
