"""How many instances stand for an object: objects found, and instances that match none."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from moonseg3r_core.evaluation.metrics.average_precision import match_scene

FOUND = (0.25, 0.5)  # IoU above which an object is found
_MATCHED = 0.25  # IoU above which an instance matches an object


@dataclass(frozen=True)
class ObjectCounts:
    """Counts of a scene, or their sums over scenes.

    objects: true ones; found: those with an instance above each IoU of `FOUND`; instances: predicted ones of any size;
    unmatched: those that match no object; inside: those with most of their points in objects.
    """

    objects: int
    found: tuple[int, ...]
    instances: int
    unmatched: int
    inside: int

    @property
    def per_object(self) -> float:
        """Instances for each object; NaN without objects."""
        return self.inside / self.objects if self.objects else float("nan")


def count_objects(gt_ids: np.ndarray, pred_ids: np.ndarray, listed: Collection[int] | None = None) -> ObjectCounts:
    """Count the objects and instances of two labellings (N,) int of the same points, 0 = none.

    listed: the instances that count, None: all with a point. As in AP, objects under 100 points do not count, and an
    instance that lies in void is not held against a method; one that is listed and has no point at all is.
    """
    shown = pred_ids if listed is None else np.where(np.isin(pred_ids, list(listed)), pred_ids, 0)
    scene = match_scene(gt_ids, shown, min_mask_points=1)
    iou, void = scene.iou, scene.ignorable / scene.mask_points
    nowhere = 0 if listed is None else len(listed) - iou.shape[1]
    return ObjectCounts(
        objects=iou.shape[0],
        found=tuple(int((iou > threshold).any(1).sum()) for threshold in FOUND),
        instances=iou.shape[1] + nowhere,
        unmatched=int((~(iou > _MATCHED).any(0) & (void <= _MATCHED)).sum()) + nowhere,
        inside=int((void < 0.5).sum()),
    )


def sum_counts(scenes: Iterable[ObjectCounts]) -> ObjectCounts:
    """Sum the counts of scenes."""
    rows = [(c.objects, *c.found, c.instances, c.unmatched, c.inside) for c in scenes]
    objects, *found, instances, unmatched, inside = (sum(column) for column in zip(*rows, strict=True))
    return ObjectCounts(objects, tuple(found), instances, unmatched, inside)
