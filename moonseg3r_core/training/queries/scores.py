"""Scores of queries on held-out rooms: whether queries of one object are alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moonseg3r_core.geometry import cosine_similarity
from moonseg3r_core.refinement.learned import concatenate_features
from moonseg3r_core.training.queries.clips import QueryBatch
from moonseg3r_core.training.queries.learner import QueryLearner


class HeldOutQueries:
    """Batches of held-out rooms, kept in memory."""

    def __init__(self, batches: Sequence[QueryBatch]) -> None:
        self.batches = batches

    @torch.no_grad()
    def compute_scores(self, learner: QueryLearner) -> dict[str, float]:
        """Compute the means over clips of the losses and of `compute_query_scores`."""
        learner.eval()
        rows: list[dict[str, float]] = []
        for batch in self.batches:
            losses = {name: float(loss) for name, loss in learner(batch).items()}
            queries = learner.compute_queries(concatenate_features(batch.geometric, batch.semantic), batch)
            rows += [losses | compute_query_scores(*clip) for clip in zip(queries, batch.owners, strict=True)]
        learner.train()
        return {
            name: float(torch.tensor([row[name] for row in rows], dtype=torch.float64).nanmean())
            for name in (rows[0] if rows else ())
        }


def compute_query_scores(queries: Tensor, owners: Tensor) -> dict[str, float]:
    """Compute the scores of queries (T, M, D) of masks with their objects (T, M), 0 = none.

    again: area under the ROC curve of the similarity of a query to queries of earlier frames, of its own object against
    other objects. nearest: among queries whose object is there eight frames before, the share whose most similar query of
    that frame is of the same object. split: as `again`, within a frame.
    """
    owned = owners > 0
    frame = torch.arange(len(owners), device=owners.device)[:, None].expand_as(owners)[owned]
    rows, objects = queries[owned], owners[owned]
    similarity, same = cosine_similarity(rows, rows), objects[:, None] == objects[None, :]
    apart = frame[:, None] - frame[None, :]
    others = (apart == 0) & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return {
        "again": compute_auc(similarity[apart > 0], same[apart > 0]),
        "nearest": compute_nearest_share(similarity, same, apart == min(8, len(owners) - 1)),
        "split": compute_auc(similarity[others], same[others]),
    }


def compute_auc(values: Tensor, positive: Tensor) -> float:
    """Compute the area under the ROC curve: the chance that a positive exceeds a negative, ties by half; NaN without pairs."""
    positives = int(positive.sum())
    if not 0 < positives < len(values):
        return float("nan")
    _, rank = torch.unique(values, return_inverse=True)
    counts = torch.bincount(rank)
    mean_rank = (counts.cumsum(0) - (counts - 1) / 2.0)[rank]
    return float(
        (mean_rank[positive].double().sum() - positives * (positives + 1) / 2) / (positives * (len(values) - positives))
    )


def compute_nearest_share(similarity: Tensor, same: Tensor, pairs: Tensor) -> float:
    """Compute the share of rows whose most similar paired column is the same, among rows that have such a column."""
    findable = (same & pairs).any(1)
    if not bool(findable.any()):
        return float("nan")
    best = torch.where(pairs, similarity, -torch.inf).argmax(1)
    return float(same[findable].gather(1, best[findable, None]).float().mean())
