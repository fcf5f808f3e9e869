"""Scores of masks on pictures of held-out rooms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.masks.config import MasksConfig, NanoMasksConfig
from moonseg3r_core.masks.image_features import make_image_features
from moonseg3r_core.masks.mask_net import MaskNet
from moonseg3r_core.masks.nano import NanoMasks
from moonseg3r_core.ops.pooling import paint_labels
from moonseg3r_core.reconstruction.multi_view.net import MultiViewNet
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED, Clip
from moonseg3r_core.training.masks.geometries import estimate_geometries
from moonseg3r_core.types import Frame, Geometry, MaskProposals

SMALLEST = 100  # pixels of the smallest object that counts
_WALK = 160  # frames of a walk, of which some are used
_BEFORE = (0, 2, 4, 7, 10)  # frames before a picture that its geometry is estimated with
_ESTIMATED_SIZE = (192, 256)  # of the images that it is estimated from
Masks = Callable[[Frame, Geometry], MaskProposals]

_AS_SHIPPED = {"min_area": MasksConfig().min_area} | {
    n: v for n, v in asdict(NanoMasksConfig()).items() if n != "weights"
}


@dataclass(frozen=True)
class HeldPicture:
    """A frame with its ids (H, W), the ids of the structure, and its geometry as it is estimated from several views."""

    frame: Frame
    ids: Tensor
    structure: tuple[int, ...]
    geometry: Geometry


class HeldOutMasks:
    """Pictures of walks through held-out rooms, 320 x 240, kept in memory."""

    def __init__(self, rooms: int, frames: int, estimator: MultiViewNet, first: int = FIRST_HELD_OUT_SEED) -> None:
        seeds = range(first, first + rooms)
        self.pictures = [picture for seed in seeds for picture in _render_pictures(seed, frames, estimator)]

    def compute_scores(self, net: MaskNet) -> dict[str, float]:
        """Compute the scores of a net's masks from color and estimated geometry, and `color_...` from color alone."""
        masks = NanoMasks(net.eval(), make_image_features(next(net.parameters()).device), **_AS_SHIPPED)
        found = compute_scores(masks, self.pictures)
        plain = [replace(p, geometry=Geometry.empty(*p.frame.size)) for p in self.pictures]
        found |= {f"color_{name}": score for name, score in compute_scores(masks, plain).items() if name != "objects"}
        net.train()
        return found


def compute_scores(masks: Masks, pictures: Collection[HeldPicture]) -> dict[str, float]:
    """Compute scores of masks on pictures.

    iou: mean over objects of the best IoU with a mask; found: share of objects above 0.5; structure_iou: `iou` of the
    structure (floor, walls, ceiling); masks: how many for each object or part of the structure; objects: their number.
    """
    things: list[float] = []
    structure: list[float] = []
    count = 0
    for picture in pictures:
        proposals = masks(picture.frame, picture.geometry)
        count += len(proposals)
        for number, iou in compute_best_ious(paint_labels(proposals), picture.ids).items():
            (structure if number in picture.structure else things).append(iou)
    return {
        "iou": float(np.mean(things)), "found": float(np.mean(np.array(things) > 0.5)),
        "structure_iou": float(np.mean(structure)), "masks": count / (len(things) + len(structure)),
        "objects": float(len(things)),
    }  # fmt: skip


def compute_best_ious(labels: Tensor, ids: Tensor) -> dict[int, float]:
    """Compute the best IoU of a label with each id > 0 of ids (H, W) that has SMALLEST pixels or more, by id."""
    pairs, both = torch.stack((ids.flatten().long(), labels.flatten().long())).unique(dim=1, return_counts=True)
    areas, covered = torch.bincount(ids.flatten()), torch.bincount(labels.flatten().long())
    iou = both / (areas[pairs[0]] + covered[pairs[1]] - both)
    iou[pairs[1] == 0] = 0
    counted = [number for number in pairs[0].unique().tolist() if number and areas[number] >= SMALLEST]
    return {number: float(iou[pairs[0] == number].max()) for number in counted}


def _render_pictures(seed: int, frames: int, estimator: MultiViewNet) -> list[HeldPicture]:
    walked = SyntheticSequence(seed, _WALK)
    chosen = np.linspace(_BEFORE[-1], len(walked), frames + 1).astype(int)[:-1].tolist()
    return [_render_picture(walked, index, estimator) for index in chosen]


def _render_picture(walked: SyntheticSequence, index: int, estimator: MultiViewNet) -> HeldPicture:
    seen = [walked[index - before] for before in _BEFORE]
    images, depths, poses = zip(*((f.image, f.depth.half(), f.world_from_camera) for f in seen), strict=True)
    clip = Clip(torch.stack(images), torch.stack(depths), torch.stack(poses).float(), seen[0].intrinsics)
    (geometry,) = estimate_geometries(clip, [0], _ESTIMATED_SIZE, estimator, walked.seed)
    scale = clip.images.shape[2] / geometry.grid.width
    grid = replace(geometry.grid, scale_u=scale, scale_v=scale, offset_u=(scale - 1) / 2, offset_v=(scale - 1) / 2)
    return HeldPicture(seen[0], walked.render_ids(index), walked.scene.structure_ids, replace(geometry, grid=grid))
