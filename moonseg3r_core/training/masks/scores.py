"""Scores of masks on pictures of held-out rooms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.masks.config import MasksConfig, NanoMasksConfig
from moonseg3r_core.masks.mask_net import MaskNet
from moonseg3r_core.masks.nano import NanoMasks
from moonseg3r_core.ops.pooling import paint_labels
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED
from moonseg3r_core.types import Frame, Geometry, MaskProposals

SMALLEST = 100  # pixels of the smallest object that counts
_WALK = 160  # frames of a walk, of which some are used
Masks = Callable[[Frame, Geometry], MaskProposals]

_AS_SHIPPED = {"min_area": MasksConfig().min_area} | {
    n: v for n, v in asdict(NanoMasksConfig()).items() if n != "weights"
}


class HeldOutMasks:
    """Pictures of walks through held-out rooms, 320 x 240, kept in memory."""

    def __init__(self, rooms: int, frames: int, first: int = FIRST_HELD_OUT_SEED) -> None:
        self.pictures = [picture for number in range(rooms) for picture in _render_pictures(first + number, frames)]

    def compute_scores(self, net: MaskNet) -> dict[str, float]:
        """Compute the scores of a net's masks."""
        masks = NanoMasks(net.eval(), **_AS_SHIPPED)
        found = compute_scores(masks, self.pictures)
        net.train()
        return found


def compute_scores(masks: Masks, pictures: Collection[tuple[Frame, Tensor, tuple[int, ...]]]) -> dict[str, float]:
    """Compute scores of masks on pictures (frame, ids, ids of the structure).

    iou: mean over objects of the best IoU with a mask; found: share of objects above 0.5; structure_iou: `iou` of the
    structure (floor, walls, ceiling); objects: their number.
    """
    things: list[float] = []
    structure: list[float] = []
    for frame, ids, fixed in pictures:
        proposals = masks(frame, Geometry.empty(*frame.size))
        for number, iou in compute_best_ious(paint_labels(proposals), ids).items():
            (structure if number in fixed else things).append(iou)
    return {
        "iou": float(np.mean(things)), "found": float(np.mean(np.array(things) > 0.5)),
        "structure_iou": float(np.mean(structure)), "objects": float(len(things)),
    }  # fmt: skip


def compute_best_ious(labels: Tensor, ids: Tensor) -> dict[int, float]:
    """Compute the best IoU of a label with each id > 0 of ids (H, W) that has SMALLEST pixels or more, by id."""
    pairs, both = torch.stack((ids.flatten().long(), labels.flatten().long())).unique(dim=1, return_counts=True)
    areas, covered = torch.bincount(ids.flatten()), torch.bincount(labels.flatten().long())
    iou = both / (areas[pairs[0]] + covered[pairs[1]] - both)
    iou[pairs[1] == 0] = 0
    counted = [number for number in pairs[0].unique().tolist() if number and areas[number] >= SMALLEST]
    return {number: float(iou[pairs[0] == number].max()) for number in counted}


def _render_pictures(seed: int, frames: int) -> list[tuple[Frame, Tensor, tuple[int, ...]]]:
    walked = SyntheticSequence(seed, _WALK)
    chosen = np.linspace(0, len(walked) - 1, frames + 1).astype(int)[:-1].tolist()
    return [(walked[index], walked.render_ids(index), walked.scene.structure_ids) for index in chosen]
