"""The configuration of fusion: what its four stages are built from."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import Kind, live, value

STAGES = {
    "lift": Kind("moonseg3r_core.fusion.lifting:build_lift", fields=("boxes", "min_points")),
    "merge": Kind("moonseg3r_core.fusion.merge:build_merge", fields=("merge", "merge_threshold")),
    "match": Kind(
        "moonseg3r_core.fusion.match:build_match", fields=("match", "match_threshold", "parts", "parts_share")
    ),
    "store": Kind(
        "moonseg3r_core.fusion.store:build_store",
        fields=("average", "overlap_voxel", "consensus", "consensus_cover", "consensus_views", "consensus_rate"),
        device=True,
    ),
}


@dataclass(frozen=True)
class FusionConfig:
    boxes: str = live(
        "points",
        "boxes from a mask's points (1st to 99th percentile) or from its keys (paper)",
        choices=("points", "keys"),
    )
    min_points: int = live(10, "masks with fewer 3D points have no place and are left out", low=1)
    merge: str = live(
        "auto",
        "within-frame merge of alike masks; borders: of those without an edge between; similarity: of all (paper); auto: "
        "borders with learned queries, none with averages",
        choices=("auto", "borders", "similarity", "none"),
    )
    merge_threshold: float = live(
        0.0, "masks of one frame more alike than this are one; 0: as suits the merge (paper: 0.8)", low=-1.0, high=1.0
    )
    match: str = live(
        "overlap",
        "paper: eq 12; overlap: eq 12 and the IoU with the map's labels in view",
        choices=("paper", "overlap"),
    )
    match_threshold: float = live(
        0.0,
        "prune matches below this sum of three terms (paper: 1.8); 0: as suits the reconstruction",
        low=0.0,
        high=3.0,
    )
    overlap_voxel: float = value(
        0.0, "edge of the voxels in which overlap is measured, metres; 0: as suits the reconstruction", low=0.0
    )
    parts: str = live(
        "join",
        "a mask left over inside an instance: join: a part of it; new: an instance (paper)",
        choices=("join", "new"),
    )
    parts_share: float = live(0.9, "share of a mask inside an instance that makes it a part", low=0.0, high=1.0)
    consensus: str = live(
        "views", "views: instances that masks keep showing as one are joined; none (paper)", choices=("views", "none")
    )
    consensus_cover: float = live(0.8, "share of an instance in view under a mask that shows it", low=0.5, high=1.0)
    consensus_views: int = live(5, "frames that must show two instances as one", low=1)
    consensus_rate: float = live(
        0.75, "share of the frames that show both instances which must show them as one", low=0.0, high=1.0
    )
    average: str = live(
        "running",
        "update of a matched query: mean over observations, or of old and new",
        choices=("running", "pairwise"),
    )
