"""Loop closure: a keyframe recognises a place that the map has already, and the map is brought to agree with it.

A place is a keyframe that looks alike and is hardly connected with the new one. Matches and PnP verify it; the depths of
the matched landmarks on both sides give the scale between them, because color alone drifts in scale too. A pose graph
spreads the difference over all keyframes, matched landmarks become one, and all keyframes are adjusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from moonseg3r_core.reconstruction.odometry.absolute_pose import compute_depths, refine_pose
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK
from moonseg3r_core.reconstruction.odometry.global_adjustment import adjust_all
from moonseg3r_core.reconstruction.odometry.local_map import LocalMap
from moonseg3r_core.reconstruction.odometry.matching import match_near
from moonseg3r_core.reconstruction.odometry.pose_graph import PoseGraph, optimize

TRIED, RECENT = 2, 5  # keyframes that look most alike, and the last ones, which are no loop
CONNECTED = 60  # shared landmarks from which two keyframes agree as they are
LINKED = 15  # shared landmarks that make an edge of the pose graph
GUIDED_PX, LOCAL_KEYFRAMES = 10.0, 5
MIN_ROUGH, MIN_MATCHED, MIN_SHARE = 25, 60, 0.45  # inliers of one keyframe, of it with its neighbours, their share
MAX_SPREAD, MAX_LOG_SCALE = 0.08, np.log(4)  # of the log ratios of depths: their median deviation, and their median
DRIFT_SHARE, DRIFT_DEPTH = 0.25, 0.1  # of the way, and of the depth for a camera that turns: the most that it drifts
DRIFT_DEG = 20.0  # walls of one pattern look alike from directions that differ by more
WIDE, WIDE_LOG_SCALE = 0.02, 0.01  # a gap, share of the depth; below it, merged landmarks alone close it
# Of an edge with FULL landmarks or more: radians, share of the depth, log scale.
SIGMAS, FULL = np.array([0.005] * 3 + [0.01] * 3 + [0.01]), 100
DEPTH_SIGMA, MAX_DEPTH_SIGMA = 0.02, 0.5  # of the log of a landmark's depth, at least and at most


class Match(Protocol):
    """A match of an image with known points: see `tracker.Match`."""

    @property
    def camera(self) -> np.ndarray: ...

    @property
    def landmarks(self) -> np.ndarray: ...

    @property
    def count(self) -> int: ...


@dataclass(frozen=True)
class Loop:
    """A keyframe at the place of another, by their rows: measured (4, 4) other_from_view with the scale between their
    depths, how many landmarks tell it, and the pairs (k, 2) of landmarks that are one, the old one second.
    """

    view: int
    other: int
    measured: np.ndarray
    count: int
    pairs: np.ndarray


class LoopCloser:
    """Closes the loop of the newest keyframe of a map, if it has one; returns whether the map changed."""

    def __init__(self, match_camera: Callable[..., Match | None]) -> None:
        self._match_camera = match_camera

    def __call__(self, map: LocalMap) -> bool:
        for other in list_places(map):
            loop = self._verify(map, other)
            if loop is not None and can_be_drift(map, loop):
                close_loop(map, loop)
                return True
        return False

    def _verify(self, map: LocalMap, other: int) -> Loop | None:
        """Verify that the newest keyframe is at the place of another one; None where it is not."""
        keyframe, place = map.keyframes[-1], map.keyframes[other]
        rough = self._match_camera(keyframe.features, map.collect([place]))
        if rough is None or rough.count < MIN_ROUGH:
            return None
        local = map.collect(map.find_local(rough.landmarks, LOCAL_KEYFRAMES)[:-1])
        features = keyframe.features
        rows, columns = match_near(features, local, local.project(rough.camera), GUIDED_PX / features.focal)
        camera, inliers = refine_pose(rough.camera, local.see(columns, features.rays[rows]), features.focal)
        pairs = np.column_stack((keyframe.landmarks[rows[inliers]], local.landmarks[columns[inliers]]))
        old, own = (
            compute_depths(c, map.points[p]) for c, p in ((camera, pairs[:, 1]), (keyframe.camera, pairs[:, 0]))
        )
        good = (pairs[:, 0] != NO_LANDMARK) & (old > 0) & (own > 0)
        if good.sum() < MIN_MATCHED or inliers.mean() < MIN_SHARE:
            return None
        log_scale = measure_scale(np.log(old[good] / own[good]), map.sigmas[pairs[good]])
        if log_scale is None:
            return None
        there = np.linalg.inv(camera)
        there[:3, :3] *= np.exp(log_scale)
        return Loop(len(map.keyframes) - 1, other, place.camera @ there, int(good.sum()), choose_pairs(pairs[good]))


class NoLoops:
    """Closes no loop."""

    def __call__(self, map: LocalMap) -> bool:
        return False


def list_places(map: LocalMap) -> list[int]:
    """List the rows of keyframes that look most like the newest one and are hardly connected with it."""
    shared = map.count_shared(map.keyframes[-1].landmarks)
    shared[-1 - RECENT :] = CONNECTED
    places = np.stack([k.features.place for k in map.keyframes])
    likeness = np.where(shared < CONNECTED, places @ map.keyframes[-1].features.place, -np.inf)
    return [int(row) for row in np.argsort(-likeness)[:TRIED] if np.isfinite(likeness[row])]


def measure_scale(log_ratios: np.ndarray, sigmas: np.ndarray) -> float | None:
    """Measure the median of log ratios (n,) of depths with sigmas (n, 2) of both; None where they differ or are far off."""
    weights = 1 / (DEPTH_SIGMA**2 + np.minimum(sigmas, MAX_DEPTH_SIGMA) ** 2).sum(1)
    middle = compute_weighted_median(log_ratios, weights)
    spread = compute_weighted_median(np.abs(log_ratios - middle), weights)
    return middle if spread < MAX_SPREAD and abs(middle) < MAX_LOG_SCALE else None


def compute_weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Compute the least of values (n,) up to which half of the weights lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def choose_pairs(pairs: np.ndarray) -> np.ndarray:
    """Choose pairs (k, 2) of different landmarks, none twice on either side, none on both."""
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    for side in (0, 1):
        pairs = pairs[np.unique(pairs[:, side], return_index=True)[1]]
    return pairs[~np.isin(pairs[:, 1], pairs[:, 0])]


def can_be_drift(map: LocalMap, loop: Loop) -> bool:
    """Return whether the way since the other keyframe explains the gap: else the place only looks the same."""
    poses = np.stack([k.pose for k in map.keyframes[loop.other :]])
    way = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    gap = np.linalg.norm((poses[0] @ loop.measured)[:3, 3] - poses[-1, :3, 3])
    scale = np.cbrt(np.linalg.det(loop.measured[:3, :3]))  # a way of shrunken steps was longer
    depth = np.median(map.keyframes[loop.view].features.depths)
    turn = poses[-1, :3, :3].T @ poses[0, :3, :3] @ loop.measured[:3, :3] / scale
    turned = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return bool(turned < DRIFT_DEG and gap < max(1.0, scale) * (DRIFT_SHARE * way + DRIFT_DEPTH * depth))


def close_loop(map: LocalMap, loop: Loop) -> None:
    """Move the map so that it agrees with a loop, and merge the landmarks of both sides."""
    graph = make_graph(map, loop)
    gap = graph.compute_residuals()[-1] * graph.sigmas[-1]
    depth = np.median(map.keyframes[loop.view].features.depths)
    is_wide = np.linalg.norm(gap[3:6]) > WIDE * depth or np.linalg.norm(gap[:3]) > WIDE or abs(gap[6]) > WIDE_LOG_SCALE
    if is_wide:
        map.move_keyframes(optimize(graph).views)
    map.merge_landmarks(loop.pairs)
    if is_wide:
        adjust_all(map)
    else:
        map.optimize_newest()


def make_graph(map: LocalMap, loop: Loop) -> PoseGraph:
    """Make the graph of all keyframes: edges as they lie now, and the loop, which comes last."""
    views = np.stack([k.pose for k in map.keyframes])
    shared = count_all_shared(map)
    steps = np.arange(len(views) - 1)
    linked = sparse.triu(shared, 2).tocoo()
    chosen = linked.data >= LINKED
    first = np.concatenate((steps, linked.row[chosen], [loop.other]))
    second = np.concatenate((steps + 1, linked.col[chosen], [loop.view]))
    measured = np.linalg.inv(views[first]) @ views[second]
    measured[-1] = loop.measured
    counts = np.append(np.asarray(shared[first[:-1], second[:-1]])[0], loop.count).clip(1, FULL)
    depth = np.median(np.concatenate([k.features.depths for k in map.keyframes]))
    units = np.array([1] * 3 + [depth] * 3 + [1])
    sigmas = SIGMAS * units * np.sqrt(FULL / counts)[:, None]
    return PoseGraph(views, np.arange(len(views)) > 0, first, second, measured, sigmas)


def count_all_shared(map: LocalMap) -> sparse.csr_matrix:
    """Count the landmarks that each two keyframes share: (n, n)."""
    observed = [k.landmarks[k.observed] for k in map.keyframes]
    rows = np.repeat(np.arange(len(observed)), [len(each) for each in observed])
    ones = np.ones(len(rows), np.int64)
    seen = sparse.csr_matrix((ones, (rows, np.concatenate(observed))), (len(observed), len(map.points)))
    return (seen @ seen.T).tocsr()
