"""Class-agnostic average precision of labelled points, as ScanNet's instance evaluator defines it.

`match_scene` compares a scene once, `average_precision` scores it at every threshold:

- objects and masks under 100 points do not count; a pair matches where its IoU is strictly above the threshold;
- objects are visited in ascending id; an object uses up its first free matching mask; the best score of its free
  matching masks is the true positive's, every other one is a false positive's;
- a mask that matches nothing is a false positive unless more than the threshold's share of it lies in void;
- precision is weighted by half the recall between its neighbours, after the point (recall 0, precision 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.append(np.arange(0.5, 0.95, 0.05), 0.25)  # AP is the mean over the first nine
MIN_POINTS = 100


@dataclass(frozen=True)
class SceneMatches:
    """The points that the objects and masks of a scene share.

    shared (G, P) int64; object_points (G,), mask_points (P,) int64; ignorable (P,) int64, a mask's points in void
    or in objects too small to count; scores (P,) float64. Objects and masks ascend by id.
    """

    shared: np.ndarray
    object_points: np.ndarray
    mask_points: np.ndarray
    ignorable: np.ndarray
    scores: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(G, P) float64: intersection over union of each object with each mask."""
        return self.shared / (self.object_points[:, None] + self.mask_points[None, :] - self.shared)


@dataclass(frozen=True)
class Scores:
    """AP at each of `THRESHOLDS` (10,): the mean of 0.50 to 0.90, and those at 0.50 and 0.25.

    NaN where there is no object of 100 points.
    """

    per_threshold: tuple[float, ...]

    @property
    def ap(self) -> float:
        return float(np.mean(self.per_threshold[:9]))

    @property
    def ap50(self) -> float:
        return self.per_threshold[0]

    @property
    def ap25(self) -> float:
        return self.per_threshold[9]


def match_scene(
    gt_ids: np.ndarray,
    pred_ids: np.ndarray,
    scores: Mapping[int, float] | None = None,
    min_points: int = MIN_POINTS,
    min_mask_points: int | None = None,
) -> SceneMatches:
    """Compare two labellings (N,) int of the same points; 0 is void in `gt_ids` and nothing in `pred_ids`.

    `scores` gives the confidence of each predicted id; None counts all equal, an id that it lacks has 0. Masks may be
    smaller than the objects that count: `min_mask_points`.
    """
    if gt_ids.shape != pred_ids.shape or gt_ids.ndim != 1:
        raise ValueError(
            f"gt_ids and pred_ids must be (N,) on the same points, got {gt_ids.shape} and {pred_ids.shape}; "
            "carry the prediction onto the ground-truth points first."
        )
    objects, masks, table = _count_shared_points(gt_ids, pred_ids)
    object_points, mask_points = table.sum(axis=1), table.sum(axis=0)
    counted = (objects > 0) & (object_points >= min_points)
    valid = (masks > 0) & (mask_points >= (min_points if min_mask_points is None else min_mask_points))
    confidence = np.array([1.0 if scores is None else scores.get(int(k), 0.0) for k in masks[valid]], dtype=np.float64)
    return SceneMatches(
        shared=table[np.ix_(counted, valid)],
        object_points=object_points[counted],
        mask_points=mask_points[valid],
        ignorable=table[np.ix_(~counted, valid)].sum(axis=0),
        scores=confidence,
    )


def average_precision(scenes: Sequence[SceneMatches]) -> Scores:
    """Compute the AP of the true and false positives of all scenes together."""
    return Scores(tuple(_compute_pooled_precision(scenes, float(threshold)) for threshold in THRESHOLDS))


def average_scenes(scenes: Sequence[SceneMatches]) -> Scores:
    """Average the scenes' APs; scenes without an object are left out."""
    table = np.array([average_precision([scene]).per_threshold for scene in scenes if len(scene.object_points)])
    if not len(table):
        return Scores((float("nan"),) * len(THRESHOLDS))
    return Scores(tuple(float(value) for value in table.mean(axis=0)))


def match_at_threshold(scene: SceneMatches, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Match masks to objects at one IoU threshold; return the scores of true and of false positives."""
    hit = scene.iou > threshold
    free = np.ones(len(scene.scores), dtype=bool)
    true: list[float] = []
    false: list[float] = []
    for row in hit:
        candidates = np.flatnonzero(row & free)
        if len(candidates):
            free[candidates[0]] = False
            *others, best = np.sort(scene.scores[candidates])
            true.append(best)
            false.extend(others)
    wrong = ~hit.any(axis=0) & (scene.ignorable / scene.mask_points <= threshold)
    return np.array(true), np.concatenate((np.array(false), scene.scores[wrong]))


def _count_shared_points(gt_ids: np.ndarray, pred_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct ids of both labellings, ascending, and the number of points that each pair shares."""
    objects, row = np.unique(np.maximum(gt_ids, 0), return_inverse=True)
    masks, column = np.unique(np.maximum(pred_ids, 0), return_inverse=True)
    cells = row.astype(np.int64) * len(masks) + column
    table = np.bincount(cells, minlength=len(objects) * len(masks))
    return objects, masks, table.reshape(len(objects), len(masks))


def _compute_pooled_precision(scenes: Sequence[SceneMatches], threshold: float) -> float:
    objects = sum(len(scene.object_points) for scene in scenes)
    if objects == 0:
        return float("nan")
    positives = [match_at_threshold(scene, threshold) for scene in scenes]
    true, false = (np.concatenate(scores) for scores in zip(*positives, strict=True))
    return compute_area_under_curve(true, false, objects)


def compute_area_under_curve(true: np.ndarray, false: np.ndarray, objects: int) -> float:
    """Compute AP from the scores of true and false positives and the number of objects (> 0)."""
    levels = np.unique(np.concatenate((true, false)))
    found = len(true) - np.searchsorted(np.sort(true), levels)
    wrong = len(false) - np.searchsorted(np.sort(false), levels)
    precision = np.append(found / np.maximum(found + wrong, 1), 1.0)
    recall = np.append(found / objects, 0.0)
    around = np.concatenate((recall[:1], recall, [0.0]))
    return float(precision @ (around[:-2] - around[2:]) / 2)
