"""Scores of queries on rooms that are never trained on: does a query find its object again?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moonseg3r_core.geometry import cosine_similarity
from moonseg3r_core.refinement.learned import concatenated
from moonseg3r_core.training.queries.clips import QueryBatch
from moonseg3r_core.training.queries.learner import QueryLearner


class HeldOutQueries:
    """Batches of held-out rooms, kept in memory."""

    def __init__(self, batches: Sequence[QueryBatch]) -> None:
        self.batches = batches

    @torch.no_grad()
    def compute_scores(self, learner: QueryLearner) -> dict[str, float]:
        """The losses, and `query_scores` of all clips: their means."""
        learner.eval()
        rows: list[dict[str, float]] = []
        for batch in self.batches:
            losses = {name: float(loss) for name, loss in learner(batch).items()}
            queries = learner.compute_queries(concatenated(batch.geometric, batch.semantic), batch)
            rows += [losses | compute_query_scores(*clip) for clip in zip(queries, batch.owners, strict=True)]
        learner.train()
        return {
            name: float(torch.tensor([row[name] for row in rows], dtype=torch.float64).nanmean())
            for name in (rows[0] if rows else ())
        }


def compute_query_scores(queries: Tensor, owners: Tensor) -> dict[str, float]:
    """Of queries (T, M, D) of masks and the objects (T, M) that they show, 0 = none.

    again: the chance that a query is more like one of its object's in an earlier frame than like another object's there
    (the area under the ROC curve of all such pairs); nearest: the share of queries whose most alike one, of the frame
    eight before, is of the same object, of those that have one there; split: as `again`, within a frame.
    """
    shown = owners > 0
    frame = torch.arange(len(owners), device=owners.device)[:, None].expand_as(owners)[shown]
    rows, objects = queries[shown], owners[shown]
    alike, same = cosine_similarity(rows, rows), objects[:, None] == objects[None, :]
    apart = frame[:, None] - frame[None, :]
    others = (apart == 0) & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return {
        "again": compute_auc(alike[apart > 0], same[apart > 0]),
        "nearest": compute_nearest_share(alike, same, apart == min(8, len(owners) - 1)),
        "split": compute_auc(alike[others], same[others]),
    }


def compute_auc(values: Tensor, positive: Tensor) -> float:
    """The chance that a positive has the greater value of a pair with a negative, ties by half; NaN without pairs."""
    hits = int(positive.sum())
    if not 0 < hits < len(values):
        return float("nan")
    _, rank = torch.unique(values, return_inverse=True)
    counts = torch.bincount(rank)
    middle = (counts.cumsum(0) - (counts - 1) / 2.0)[rank]
    return float((middle[positive].double().sum() - hits * (hits + 1) / 2) / (hits * (len(values) - hits)))


def compute_nearest_share(alike: Tensor, same: Tensor, pairs: Tensor) -> float:
    """The share of rows whose most alike column, of those they are paired with, is the same; of rows that have one."""
    findable = (same & pairs).any(1)
    if not bool(findable.any()):
        return float("nan")
    best = torch.where(pairs, alike, -torch.inf).argmax(1)
    return float(same[findable].gather(1, best[findable, None]).float().mean())
