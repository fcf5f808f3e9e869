"""Cross-frame bipartite match of a frame's masks to instances (paper eq 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.fusion.overlap import Overlap
from moonseg3r_core.geometry import box_iou, cosine_similarity
from moonseg3r_core.stages import Match
from moonseg3r_core.types import Assignment, Queries

_PRUNED = 1e6  # cost of a pair below the threshold: finite, so that the solver always ends, and rejected afterwards
_PAPER_TERMS = 3


def build_match(match: str, match_threshold: float, parts: str, parts_share: float) -> Match:
    """Build the match of eq 12 with the configured term of overlap and rule for unmatched parts."""
    terms: list[Term] = [QuerySimilarity(), StateSimilarity(), BoxSimilarity()]
    if match == "overlap":
        terms.append(OverlapSimilarity())
    bipartite = BipartiteMatch(match_threshold, terms)
    return JoinContained(bipartite, parts_share) if parts == "join" else bipartite


class Term(Protocol):
    """One summand of eq 12: the similarity (K, M) of instances and queries, or None where it is not known."""

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Tensor | None: ...


class QuerySimilarity:
    """Cosine of the queries, in [-1, 1]."""

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Tensor | None:
        return cosine_similarity(instances.features, queries.features)


class StateSimilarity:
    """Cosine of the state distribution tokens, in [0, 1]; None where the reconstruction has no state."""

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Tensor | None:
        if queries.state_tokens is None or instances.state_tokens is None:
            return None
        return cosine_similarity(instances.state_tokens, queries.state_tokens)


class BoxSimilarity:
    """IoU of the boxes, in [0, 1]."""

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Tensor | None:
        return box_iou(instances.boxes, queries.boxes)


class OverlapSimilarity:
    """IoU of the masks with the map's labels in view, in [0, 1]. Not in the paper."""

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Tensor | None:
        return overlap.iou


class BipartiteMatch:
    """Matches one to one as many pairs above the threshold as possible, with the greatest sum; other masks are new.

    `threshold` is for the paper's three terms and scales with the number of terms that are known (docs/decisions.md, 9).
    """

    def __init__(self, threshold: float, terms: Sequence[Term]) -> None:
        self.threshold, self.terms = threshold, tuple(terms)

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Assignment:
        ids = torch.zeros(len(queries), dtype=torch.int64, device=queries.features.device)
        similarity = torch.zeros(len(queries), device=ids.device)
        if len(queries) and len(instances):
            likeness, present = self._sum_terms(queries, instances, overlap)
            rows, columns = solve_assignment(likeness, self.threshold * present / _PAPER_TERMS)
            ids[columns] = instances.ids[rows]
            similarity[columns] = likeness[rows, columns].clamp(min=0) / present
        return assign_new_ids(ids, similarity, instances.next_id)

    def _sum_terms(self, queries: Queries, instances: Instances, overlap: Overlap) -> tuple[Tensor, int]:
        known = [values for term in self.terms if (values := term(queries, instances, overlap)) is not None]
        return torch.stack(known).sum(0), len(known)


def solve_assignment(likeness: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Solve for rows and columns of the best one-to-one assignment in likeness (K, M), without pairs below the threshold."""
    kept = torch.nan_to_num(likeness, nan=-_PRUNED) >= threshold
    cost = torch.where(kept, -likeness, _PRUNED).cpu().numpy()
    rows, columns = (torch.from_numpy(side).to(likeness.device) for side in linear_sum_assignment(cost))
    accepted = kept[rows, columns]
    return rows[accepted], columns[accepted]


def assign_new_ids(ids: Tensor, similarity: Tensor, next_id: int) -> Assignment:
    """Replace ids (M,) of 0 by new ids from `next_id` on, in the order of the masks."""
    new = ids == 0
    return Assignment(torch.where(new, next_id - 1 + new.long().cumsum(0), ids), new, similarity)


class JoinContained:
    """Adds a mask that `match` left new to the instance that contains more than `share` of it.

    The bipartite match gives an instance one mask a frame; the other pieces of a split object would each become an
    instance. Not in the paper.
    """

    def __init__(self, match: BipartiteMatch, share: float) -> None:
        self.match, self.share = match, share

    def __call__(self, queries: Queries, instances: Instances, overlap: Overlap) -> Assignment:
        first = self.match(queries, instances, overlap)
        if not len(queries) or not len(instances):
            return first
        best, row = overlap.share.max(0)
        part = first.is_new & (best > self.share)
        ids = torch.where(part, instances.ids[row], torch.where(first.is_new, 0, first.instance_ids))
        return assign_new_ids(ids, torch.where(part, best, first.similarity), instances.next_id)
