"""Within-frame merge (paper section 3.5): masks whose queries are alike are parts of one object."""

from __future__ import annotations

import dataclasses

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from moonseg3r_core.geometry import cosine
from moonseg3r_core.types import Queries

_BORDERS = 80  # a picture is as many times as wide as the gap between masks that touch


class SimilarityMerge:
    """Merges the connected components of the graph of pairs more similar than `threshold` (decision 8)."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, queries: Queries) -> Queries:
        alike = cosine(queries.features, queries.features) > self.threshold
        return merge_groups(queries, components(alike))


class TouchingMerge:
    """As SimilarityMerge, but only masks that touch are joined: what split an object left its parts side by side. Not in
    the paper.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, queries: Queries) -> Queries:
        alike = cosine(queries.features, queries.features) > self.threshold
        return merge_groups(queries, components(alike & touching(queries.labels, len(queries))))


class NoMerge:
    """Leaves every mask by itself."""

    def __call__(self, queries: Queries) -> Queries:
        return queries


def components(joined: Tensor) -> Tensor:
    """The component (M,) int64 of each node in a graph (M, M) bool."""
    _, groups = connected_components(joined.cpu().numpy(), directed=False)
    return torch.from_numpy(groups).long().to(joined.device)


def touching(labels: Tensor, masks: int) -> Tensor:
    """Whether masks come near one another, (M, M) bool; labels (H, W) with m + 1 for mask m, 0 for none.

    Near is within an eightieth of the picture's width, up, down or aside: masks have ragged borders, and gaps along them.
    """
    near = labels.new_zeros(masks + 1, masks + 1, dtype=torch.bool)
    reach = max(1, labels.shape[1] // _BORDERS)
    for step in range(1, reach + 1):
        for here, there in ((labels[step:], labels[:-step]), (labels[:, step:], labels[:, :-step])):
            near[here.long(), there.long()] = True
    near |= near.T.clone()
    return near[1:, 1:]


def merge_groups(queries: Queries, group: Tensor) -> Queries:
    """One query per group, group (M,) int64 in 0..: features averaged by area, tokens summed, masks and boxes united."""
    device, count = queries.features.device, int(group.max()) + 1 if len(group) else 0
    weights = queries.areas.float().clamp(min=1e-6)

    def total(values: Tensor) -> Tensor:
        return torch.zeros((count, *values.shape[1:]), dtype=values.dtype, device=device).index_add_(0, group, values)

    def extreme(values: Tensor, largest: bool) -> Tensor:
        fill = -torch.inf if largest else torch.inf
        index = group[:, None].expand(-1, 3)
        start = torch.full((count, 3), fill, device=device)
        best = start.scatter_reduce_(0, index, torch.nan_to_num(values, nan=fill), "amax" if largest else "amin")
        return torch.where(torch.isfinite(best), best, torch.nan)

    shift = torch.cat((torch.zeros(1, dtype=torch.int32, device=device), (group + 1).int()))
    return dataclasses.replace(
        queries,
        features=total(queries.features * weights[:, None]) / total(weights)[:, None],
        labels=shift[queries.labels.long()],
        areas=total(queries.areas),
        boxes=torch.stack((extreme(queries.boxes[:, 0], False), extreme(queries.boxes[:, 1], True)), dim=1),
        scores=total(queries.scores * weights) / total(weights),
        state_tokens=None if queries.state_tokens is None else total(queries.state_tokens),
    )
