"""The door: a configuration in, the house with its tenants out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.config import Config, FusionConfig
from moonseg3r_core.errors import ConfigError, SourceError
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
from moonseg3r_core.fusion.merge import NoMerge, SimilarityMerge
from moonseg3r_core.fusion.store import InstanceStore
from moonseg3r_core.segmenter import OnlineSegmenter, Rooms
from moonseg3r_core.stages import Match

TENANTS = {
    "reconstruction": {"rgbd": "moonseg3r_core.reconstruction.rgbd:RgbdReconstruction"},
    "masks": {
        "precomputed": "moonseg3r_core.masks.precomputed:PrecomputedMasks",
        "regions": "moonseg3r_core.masks.regions:RegionMasks",
    },
    "features": {"handcrafted": "moonseg3r_core.features.handcrafted:HandcraftedFeatures"},
    "refinement": {"average": "moonseg3r_core.refinement.average:AverageRefinement"},
    "memory": {"index": "moonseg3r_core.memory.memory:IndexMemory", "none": "moonseg3r_core.memory.memory:NoMemory"},
}
NEEDS = {"rgbd": ("depth", "intrinsics", "poses")}  # what a reconstruction takes from the recording


def build_segmenter(config: Config, *, masks_folder: Path | None = None) -> OnlineSegmenter:
    """The segmenter that `config` describes. `masks_folder` holds the masks that the recording itself brings.

    Raises ConfigError for settings that cannot go together, InputError for a folder without masks, MissingDependency
    for an absent package.
    """
    config = settle_masks(config, masks_folder)
    if config.masks.kind == "precomputed":
        from moonseg3r_core.masks.precomputed import find_masks

        find_masks(Path(config.masks.precomputed.folder))
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    rooms = Rooms(
        reconstruction=tenant("reconstruction", config.reconstruction),
        masks=tenant("masks", config.masks, min_area=config.masks.min_area),
        features=tenant("features", config.features, cell=config.features.cell),
        memory=tenant("memory", config.memory),
        refinement=tenant("refinement", config.refinement),
        lift=Lift(PointBoxes() if config.fusion.boxes == "points" else key_boxes(config), config.fusion.min_points),
        merge=SimilarityMerge(config.fusion.merge_threshold) if config.fusion.merge == "similarity" else NoMerge(),
        match=build_match(config.fusion),
        store=build_store(config, device),
    )
    return OnlineSegmenter(rooms, device)


def check_recording(config: Config, name: str, lacks: Sequence[str]) -> None:
    """Raises SourceError when the reconstruction needs what no frame of the recording brings."""
    kind = config.reconstruction.kind
    missing = [need for need in NEEDS[kind] if need in lacks]
    if missing:
        raise SourceError(
            f"reconstruction.kind={kind} expects {', '.join(NEEDS[kind])} with every image, {name} brings no "
            f"{' and no '.join(missing)}; give a ScanNet export (color/, depth/, pose/, intrinsic/), a bag with depth, "
            "camera_info and TF or odometry, or synthetic:SEED."
        )


def settle_masks(config: Config, masks_folder: Path | None) -> Config:
    """`masks.kind` auto decided: precomputed where the recording brings masks, else regions.

    Raises ConfigError for precomputed masks without a folder.
    """
    masks = config.masks
    if masks.kind == "auto":
        masks = replace(masks, kind="precomputed" if masks_folder or masks.precomputed.folder else "regions")
    if masks.kind == "precomputed" and not masks.precomputed.folder:
        if masks_folder is None:
            raise ConfigError(
                "masks.kind=precomputed expects a folder of masks, but the recording brings none; "
                "set masks.precomputed.folder, or use masks.kind=regions."
            )
        masks = replace(masks, precomputed=replace(masks.precomputed, folder=str(masks_folder)))
    return replace(config, masks=masks)


def choose_device(name: str) -> torch.device:
    """The device of that name; auto takes a GPU where there is one. Raises ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got '{name}'.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name} is not there: torch sees {torch.cuda.device_count()} GPUs; use device=auto or cpu."
        )
    return device


def build_match(fusion: FusionConfig) -> Match:
    """Eq 12, with the terms and the rule for left-over parts that the configuration adds."""
    terms: list[Term] = [QuerySimilarity(), StateSimilarity(), BoxSimilarity()]
    if fusion.match == "overlap":
        terms.append(OverlapSimilarity())
    match = BipartiteMatch(fusion.match_threshold, terms)
    return JoinContained(match, fusion.parts_share) if fusion.parts == "join" else match


def key_boxes(config: Config) -> KeyBoxes:
    """Boxes from the keys that the memory keeps."""
    return KeyBoxes(config.memory.index.cell, config.memory.index.merge_distance)


def build_store(config: Config, device: torch.device) -> InstanceStore:
    """The empty instance store with its map."""
    fusion = config.fusion
    views = ViewConsensus(fusion.consensus_cover, fusion.consensus_views, fusion.consensus_rate)
    return InstanceStore(
        average=RunningMean() if fusion.average == "running" else PairwiseMean(),
        consensus=views if fusion.consensus == "views" else NoConsensus(),
        voxel=config.map.voxel,
        overlap_voxel=fusion.overlap_voxel,
        samples=config.map.samples,
        device=device,
    )


def tenant(room: str, section: Any, **shared: Any) -> Any:
    """The tenant of a room that its section's `kind` names, made with the settings of that kind."""
    module, _, name = TENANTS[room][section.kind].partition(":")
    own = getattr(section, section.kind, None)
    return getattr(importlib.import_module(module), name)(**shared, **(asdict(own) if own else {}))
