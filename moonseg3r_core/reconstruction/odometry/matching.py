"""Matches between two sets of descriptors: anywhere, or near an expected place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from moonseg3r_core.ops.xfeat import XFEAT_SIZE
from moonseg3r_core.reconstruction.odometry.candidates import Candidates
from moonseg3r_core.reconstruction.odometry.features import SIFT_SIZE, Features


@dataclass(frozen=True)
class MatchRule:
    """What makes a match of mutual nearest neighbours: their least cosine, and the greatest ratio of the distances to
    the nearest and the second nearest (Lowe, 2004).
    """

    min_cosine: float
    max_ratio: float


RULES = {SIFT_SIZE: MatchRule(0.75, 0.85), XFEAT_SIZE: MatchRule(0.8, 0.97)}
Rows = tuple[np.ndarray, np.ndarray]


def match_descriptors(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> Rows:
    """Match descriptors (n, d) and (k, d) of length 1 by mutual nearest neighbours: rows (m,) of both.

    mask (n, k) bool: the pairs that may match; None for all.
    """
    if not len(a) or len(b) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    cosines = a.astype(np.float32) @ b.astype(np.float32).T
    if mask is not None:
        cosines[~mask] = -1
    rule, rows = RULES[a.shape[1]], np.arange(len(a))
    nearest = cosines.argmax(1)
    first = cosines[rows, nearest].copy()
    mutual = (cosines.argmax(0)[nearest] == rows) & (first > rule.min_cosine)
    cosines[rows, nearest] = -1
    second = cosines.max(1)
    good = np.flatnonzero(mutual & (1 - first < rule.max_ratio**2 * (1 - second)))
    return good, nearest[good]


def find_near(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Find which points (n, 2) and (k, 2) are nearer than a radius: (n, k) bool. Points that are not finite are not."""
    near = np.zeros((len(a), len(b)), bool)
    rows, columns = (np.flatnonzero(np.isfinite(points).all(1)) for points in (a, b))
    if len(rows) and len(columns):
        pairs = cKDTree(a[rows]).sparse_distance_matrix(cKDTree(b[columns]), radius, output_type="ndarray")
        near[rows[pairs["i"]], columns[pairs["j"]]] = True
    return near


def match_near(features: Features, known: Candidates, projected: np.ndarray, radius: float) -> Rows:
    """Match features with known points, projected to rays (k, 2), that are nearer than a radius: rows (m,) of both.

    They are mutual nearest neighbours within each of the views that the points come from.
    """
    inside = np.flatnonzero(np.isfinite(projected).all(1))
    if not len(inside) or not len(features.rays):
        return np.zeros(0, int), np.zeros(0, int)
    tree = cKDTree(features.rays)
    pairs = tree.sparse_distance_matrix(cKDTree(projected[inside]), radius, output_type="ndarray")
    rows, columns = pairs["i"], inside[pairs["j"]]
    a, b = (each.descriptors.astype(np.float32) for each in (features, known))
    cosines = np.einsum("nk,nk->n", a[rows], b[columns])
    of_view = known.views[columns] * len(a) + rows
    best_for_feature = _find_highest(cosines, of_view)
    best_for_point = _find_highest(cosines, columns)
    good = (cosines > RULES[a.shape[1]].min_cosine) & best_for_feature & best_for_point
    return rows[good], columns[good]


def _find_highest(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Find the values (n,) that are the highest of their groups (n,): bool, one in each."""
    order = np.lexsort((-values, groups))
    highest = np.zeros(len(values), bool)
    highest[order[np.flatnonzero(np.diff(groups[order], prepend=-1))]] = True
    return highest
