"""The rooms of fusion as the configuration describes them, its settings fitted to the reconstruction and the queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from moonseg3r_core.config import Config, FusionConfig
from moonseg3r_core.fusion.consensus import NoConsensus, ViewConsensus
from moonseg3r_core.fusion.instances import PairwiseMean, RunningMean
from moonseg3r_core.fusion.lifting import KeyBoxes, Lift, PointBoxes
from moonseg3r_core.fusion.match import (
    BipartiteMatch,
    BoxSimilarity,
    JoinContained,
    OverlapSimilarity,
    QuerySimilarity,
    StateSimilarity,
    Term,
)
from moonseg3r_core.fusion.merge import BorderMerge, NoMerge, SimilarityMerge
from moonseg3r_core.fusion.store import InstanceStore
from moonseg3r_core.stages import Match, Merge

# Where poses and depth are estimates, the same surface comes back elsewhere: coarser voxels, and more likeness for a match.
SUITED = {"rgbd": (1.0, 0.05), "nano": (1.5, 0.15)}  # match_threshold, overlap_voxel
LEARNED = {"rgbd": 0.85, "nano": 1.25}  # match_threshold with learned queries, which are less alike
MERGED = {"borders": 0.4, "similarity": 0.8}  # merge_threshold


def suited(config: Config) -> FusionConfig:
    """The settings of fusion, those left at 0 or auto as they suit the reconstruction and the queries."""
    fusion, merge = config.fusion, config.fusion.merge
    threshold, voxel = SUITED.get(config.reconstruction.kind, SUITED["rgbd"])
    if config.refinement.kind == "learned":
        threshold = LEARNED.get(config.reconstruction.kind, threshold)
    if merge == "auto":
        merge = "borders" if config.refinement.kind == "learned" else "none"
    return replace(
        fusion,
        merge=merge,
        merge_threshold=fusion.merge_threshold or MERGED.get(merge, 0.0),
        match_threshold=fusion.match_threshold or threshold,
        overlap_voxel=fusion.overlap_voxel or voxel,
    )


def make_lift(boxes: str, min_points: int, cell: int, merge_distance: float) -> Lift:
    """Boxes from the points, or from the keys that the memory keeps."""
    return Lift(PointBoxes() if boxes == "points" else KeyBoxes(cell, merge_distance), min_points)


def make_merge(merge: str, merge_threshold: float) -> Merge:
    """The merge of alike masks within a frame, or none."""
    if merge == "none":
        return NoMerge()
    return SimilarityMerge(merge_threshold) if merge == "similarity" else BorderMerge(merge_threshold)


def make_match(match: str, match_threshold: float, parts: str, parts_share: float) -> Match:
    """Eq 12, with the terms and the rule for left-over parts that the configuration adds."""
    terms: list[Term] = [QuerySimilarity(), StateSimilarity(), BoxSimilarity()]
    if match == "overlap":
        terms.append(OverlapSimilarity())
    bipartite = BipartiteMatch(match_threshold, terms)
    return JoinContained(bipartite, parts_share) if parts == "join" else bipartite


def make_store(
    average: str, consensus: str, consensus_cover: float, consensus_views: int, consensus_rate: float, **plain: Any
) -> InstanceStore:
    """The empty instance store with its map."""
    views = ViewConsensus(consensus_cover, consensus_views, consensus_rate)
    return InstanceStore(
        average=RunningMean() if average == "running" else PairwiseMean(),
        consensus=views if consensus == "views" else NoConsensus(),
        **plain,
    )
