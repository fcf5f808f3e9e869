"""Merging of adjacent regions: the region adjacency graph as flat arrays, contracted in rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DENSE = 20  # cells of a table that cost as much as a value that is sorted


@dataclass(frozen=True)
class RegionGraph:
    """R regions: areas (R,), color_sums (R, 3). E borders between them: first < second (E,), and sums over each
    border's steps: counts, contrast, edge, known (E,).
    """

    areas: np.ndarray
    color_sums: np.ndarray
    first: np.ndarray
    second: np.ndarray
    sums: np.ndarray  # (E, 4): counts, contrast, edge, known


@dataclass(frozen=True)
class MergeRule:
    """RegionGraph -> the cost (E,) of merging across each border; adjacent regions are one below 1.

    cost = (color difference / color)^2 + edge / crease, times sqrt(smaller area / small_area) below that area.
    The color difference is that of the means or that across the border, whichever is smaller: shading changes slowly,
    and texture keeps its mean.
    """

    color: float
    crease: float
    small_area: float

    def __call__(self, graph: RegionGraph) -> np.ndarray:
        means = graph.color_sums / graph.areas[:, None]
        counts, contrast, edge, known = graph.sums.T
        apart = np.sqrt(np.square(means[graph.first] - means[graph.second]).sum(1))
        color = np.minimum(apart, contrast / counts) / self.color
        broken = edge / np.maximum(known, 1) / self.crease
        smaller = np.minimum(graph.areas[graph.first], graph.areas[graph.second])
        return (color * color + broken) * np.sqrt(np.minimum(smaller / self.small_area, 1.0))


def merge_regions(graph: RegionGraph, rule: MergeRule) -> np.ndarray:
    """Return the new region (R,) of each region, numbered from 0.

    Each round merges every pair whose border is the cheapest of both, until no such border costs below 1.
    """
    assigned = np.arange(len(graph.areas))
    while len(graph.first):
        costs = rule(graph)
        pairs = find_mutual_best(graph.first, graph.second, costs, len(graph.areas))
        pairs = pairs[costs[pairs] < 1]
        if not len(pairs):
            break
        target = np.arange(len(graph.areas))
        target[graph.second[pairs]] = graph.first[pairs]
        target = np.unique(target, return_inverse=True)[1]
        graph = contract(graph, target)
        assigned = target[assigned]
    return assigned


def find_mutual_best(first: np.ndarray, second: np.ndarray, costs: np.ndarray, regions: int) -> np.ndarray:
    """Find the borders (indices) that are the cheapest of both their regions; ties go to the earlier border."""
    least, earliest, borders = np.full(regions, np.inf), np.full(regions, len(costs)), np.arange(len(costs))
    for side in (first, second):
        np.minimum.at(least, side, costs)
    for side in (first, second):
        cheapest = np.flatnonzero(costs == least[side])
        np.minimum.at(earliest, side[cheapest], cheapest)
    return np.flatnonzero((earliest[first] == borders) & (earliest[second] == borders))


def contract(graph: RegionGraph, target: np.ndarray) -> RegionGraph:
    """Contract the graph: region r becomes region target[r] (0..), sums add up, inner borders go."""
    regions = int(target.max()) + 1
    areas = np.bincount(target, graph.areas, regions)
    color_sums = np.stack([np.bincount(target, c, regions) for c in graph.color_sums.T], axis=1)
    first, second, sums = group_borders(target[graph.first], target[graph.second], graph.sums, regions)
    return RegionGraph(areas, color_sums, first, second, sums)


def group_borders(
    a: np.ndarray, b: np.ndarray, values: np.ndarray, regions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum steps or borders between regions a and b (L,), values (L, C), to one row per unordered pair.

    Returns first, second (E,) and sums (E, C).
    """
    keep = a != b
    low, high = np.minimum(a, b)[keep], np.maximum(a, b)[keep]
    pairs = low.astype(np.int64) * regions + high
    if len(pairs) * _DENSE > regions * regions:  # to count in a table takes less than to sort
        sums = np.stack([np.bincount(pairs, column) for column in values[keep].T], axis=1)
        keys = np.flatnonzero(np.bincount(pairs))
        return keys // regions, keys % regions, sums[keys]
    keys, inverse = np.unique(pairs, return_inverse=True)
    sums = np.stack([np.bincount(inverse, column, len(keys)) for column in values[keep].T], axis=1)
    return keys // regions, keys % regions, sums
