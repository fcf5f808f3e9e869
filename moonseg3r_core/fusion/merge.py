"""Within-frame merge of masks with similar queries, as parts of one object (paper section 3.5)."""

from __future__ import annotations

import dataclasses

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from moonseg3r_core.fusion.borders import measure_borders
from moonseg3r_core.geometry import cosine_similarity
from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.stages import Merge
from moonseg3r_core.types import Frame, Geometry, Queries

_CONTRAST_WEIGHT = 4.0  # of a border's contrast, in [0, sqrt(3)], against the similarity of its masks
_MIN_BORDER = 20  # pixels


def build_merge(merge: str, merge_threshold: float) -> Merge:
    """Build the merge within a frame: of similar masks, of similar adjacent masks, or none."""
    if merge == "none":
        return NoMerge()
    return SimilarityMerge(merge_threshold) if merge == "similarity" else BorderMerge(merge_threshold)


class SimilarityMerge:
    """Merges the connected components of the graph of pairs more similar than `threshold` (docs/decisions.md, 8)."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries:
        alike = cosine_similarity(queries.features, queries.features) > self.threshold
        return merge_groups(queries, find_components(alike))


class BorderMerge:
    """SimilarityMerge of adjacent masks, whose similarity falls with the contrast across their border.

    The pieces of an object meet where there is no edge. Not in the paper.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries:
        contrast, pixels = measure_borders(resample_to_grid(frame.image, geometry), queries.labels, len(queries))
        likeness = cosine_similarity(queries.features, queries.features) - _CONTRAST_WEIGHT * contrast
        return merge_groups(queries, find_components((likeness > self.threshold) & (pixels >= _MIN_BORDER)))


class NoMerge:
    """Merges nothing."""

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries:
        return queries


def find_components(graph: Tensor) -> Tensor:
    """Find the component (M,) int64 of each node in a graph (M, M) bool."""
    _, groups = connected_components(graph.cpu().numpy(), directed=False)
    return torch.from_numpy(groups).long().to(graph.device)


def merge_groups(queries: Queries, group: Tensor) -> Queries:
    """Merge to one query per group (M,) int64 in 0..: features averaged by area, tokens summed, masks and boxes united."""
    device, count = queries.features.device, int(group.max()) + 1 if len(group) else 0
    weights = queries.areas.float().clamp(min=1e-6)

    def sum_groups(values: Tensor) -> Tensor:
        return torch.zeros((count, *values.shape[1:]), dtype=values.dtype, device=device).index_add_(0, group, values)

    def reduce_groups(values: Tensor, largest: bool) -> Tensor:
        fill = -torch.inf if largest else torch.inf
        index = group[:, None].expand(-1, 3)
        start = torch.full((count, 3), fill, device=device)
        best = start.scatter_reduce_(0, index, torch.nan_to_num(values, nan=fill), "amax" if largest else "amin")
        return torch.where(torch.isfinite(best), best, torch.nan)

    shift = torch.cat((torch.zeros(1, dtype=torch.int32, device=device), (group + 1).int()))
    return dataclasses.replace(
        queries,
        features=sum_groups(queries.features * weights[:, None]) / sum_groups(weights)[:, None],
        labels=shift[queries.labels.long()],
        areas=sum_groups(queries.areas),
        boxes=torch.stack((reduce_groups(queries.boxes[:, 0], False), reduce_groups(queries.boxes[:, 1], True)), dim=1),
        scores=sum_groups(queries.scores * weights) / sum_groups(weights),
        state_tokens=None if queries.state_tokens is None else sum_groups(queries.state_tokens),
    )
