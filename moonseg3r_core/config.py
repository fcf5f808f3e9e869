"""The configuration: frozen dataclasses, one per room, addressed by dotted names (`masks.regions.scale`).

The same names are the keys of a YAML file, of `--set` on the command line, and the ROS parameters. What can be done with
them stands in `settings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.config_models import (
    CropFormerConfig,
    Dinov2Config,
    Dinov3Config,
    FastSamConfig,
    Mask2FormerConfig,
    Sam2Config,
    SamConfig,
)
from moonseg3r_core.reconstruction.config import ReconstructionConfig
from moonseg3r_core.settings import (
    Key,
    fixed_changes,
    flatten,
    list_settings,
    live,
    overlay,
    parse_set,
    read_yaml,
    section,
    to_dict,
    value,
)

__all__ = [
    "Config",
    "Key",
    "fixed_changes",
    "flatten",
    "list_settings",
    "load_config",
    "overlay",
    "parse_set",
    "to_dict",
    "value",
]


@dataclass(frozen=True)
class PrecomputedConfig:
    folder: str = live("", "folder of masks; empty: `masks` in the recording")


@dataclass(frozen=True)
class RegionsConfig:
    width: int = live(256, "segmented at this width, pixels", low=32)
    scale: float = live(15.0, "preference for large regions in the graph-based segmentation", low=0.0)
    sigma: float = live(0.4, "width of the smoothing before segmentation, pixels", low=0.0)
    lightness: float = live(0.4, "weight of lightness against chroma", low=0.0)
    normals: float = live(8.0, "weight of a full change of normal, L*a*b* units", low=0.0)
    depth: float = live(75.0, "weight of a change of log depth, L*a*b* units", low=0.0)
    jump: float = live(0.02, "a surface this far off the other's plane is another one, share of depth", low=1e-3)
    convex: float = live(0.0, "weight of a convex crease against a concave one", low=0.0, high=1.0)
    color: float = live(9.0, "adjacent regions whose colors differ by less may merge, L*a*b* units", low=0.1)
    crease: float = live(0.4, "share of a border that may be broken (jump or crease) in a merge", low=0.01)
    small_area: float = live(800.0, "smaller regions merge more easily, pixels at the segmented width", low=1.0)


@dataclass(frozen=True)
class NanoMasksConfig:
    weights: str = live("", "file of weights (moonseg3r train masks); empty: those that come with the package")
    long_side: int = live(256, "the image's longer side as the net looks at it, pixels", low=64)
    smooth: float = live(0.7, "width of the smoothing of boundaries, pixels", low=0.0)
    join: float = live(0.5, "regions with a mean affinity above this are one", low=0.0, high=1.0)


@dataclass(frozen=True)
class MasksConfig:
    kind: str = live(
        "auto",
        "where 2D masks come from; auto: precomputed where the recording brings them, else nano; nano: by the small net "
        "in the package; regions: without weights, from color and surface; the others: published models (docs/models.md)",
        choices=("auto", "precomputed", "nano", "regions", "sam2", "sam", "fastsam", "mask2former", "cropformer"),
    )
    min_area: int = live(50, "smaller masks are dropped, pixels", low=1)
    every: int = live(1, "frames from one that is looked at for masks to the next; those between extend the map", low=1)
    precomputed: PrecomputedConfig = section(PrecomputedConfig)
    nano: NanoMasksConfig = section(NanoMasksConfig)
    sam2: Sam2Config = section(Sam2Config)
    sam: SamConfig = section(SamConfig)
    fastsam: FastSamConfig = section(FastSamConfig)
    mask2former: Mask2FormerConfig = section(Mask2FormerConfig)
    cropformer: CropFormerConfig = section(CropFormerConfig)
    regions: RegionsConfig = section(RegionsConfig)


@dataclass(frozen=True)
class HandcraftedConfig:
    color_range: float = value(200.0, "longest wavelength of the color features, L*a*b* units", low=1.0)
    lightness: float = value(0.5, "weight of lightness against chroma", low=0.0)
    texture: float = value(0.3, "weight of texture against color", low=0.0)


@dataclass(frozen=True)
class FeaturesConfig:
    kind: str = value(
        "handcrafted",
        "2D features (F2d); handcrafted: color and texture; reconstruction: the tokens of its net's image encoder; dinov3, "
        "dinov2: published models (docs/models.md)",
        choices=("handcrafted", "reconstruction", "dinov3", "dinov2"),
    )
    cell: int = value(16, "pixels per cell of the handcrafted features", low=4, high=64)
    handcrafted: HandcraftedConfig = section(HandcraftedConfig)
    dinov3: Dinov3Config = section(Dinov3Config)
    dinov2: Dinov2Config = section(Dinov2Config)


@dataclass(frozen=True)
class LearnedConfig:
    weights: str = value(
        "", "file of weights (moonseg3r train queries); empty: those in the package for the reconstruction's kind"
    )


@dataclass(frozen=True)
class RefinementConfig:
    kind: str = value(
        "auto",
        "how masks become queries; average: masked average pooling; learned: by a trained net (paper eq 2-4); auto: learned "
        "with nano and the features its queries were trained on, else average",
        choices=("auto", "average", "learned"),
    )
    learned: LearnedConfig = section(LearnedConfig)


@dataclass(frozen=True)
class IndexMemoryConfig:
    cell: int = value(
        0, "pixels along a cell's edge; each cell gives one spatial key; 0: 40 cells from left to right", low=0
    )
    merge_distance: float = value(0.1, "keys nearer than this are merged (delta; paper: 0.3), metres", low=1e-3)
    update: str = live(
        "paper", "paper: as the supplement words it; grid: also one new key per cell", choices=("paper", "grid")
    )
    occlusion: str = live(
        "depth",
        "depth: keys behind what is seen now are hidden; nearest: only behind other keys",
        choices=("depth", "nearest"),
    )
    rasterizer: str = live("torch", "point rasteriser", choices=("torch", "pytorch3d"))
    max_radius: float = live(12.0, "cap of a key's radius in the index map, pixels", low=0.5)
    stride: int = live(4, "pixels along the edge of a sample of the index map; 1: every pixel by itself", low=1)
    max_recalled: int = live(512, "queries recalled at most, the most seen first", low=1)
    queries_per_key: int = live(32, "newest queries kept per key; 0: all", low=0)
    max_queries: int = live(16384, "queries kept in the bank, the newest; 0: all, as in the paper", low=0)
    max_keys: int = live(65536, "spatial keys kept, the newest seen; 0: all, as in the paper", low=0)


@dataclass(frozen=True)
class MemoryConfig:
    kind: str = value("index", "index: the query index memory; none: nothing is recalled", choices=("index", "none"))
    index: IndexMemoryConfig = section(IndexMemoryConfig)


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
    consensus_rate: float = live(0.75, "and their share of all frames that show both", low=0.0, high=1.0)
    average: str = live(
        "running",
        "update of a matched query: mean over observations, or of old and new",
        choices=("running", "pairwise"),
    )


@dataclass(frozen=True)
class MapConfig:
    voxel: float = value(0.02, "edge of a map voxel, metres", low=1e-3)
    samples: int = live(38400, "pixels of a frame that enter the map, at most", low=1)
    min_observations: int = live(2, "instances seen less often are not published, though always saved", low=1)
    min_points: int = live(20, "nor are those that hold fewer points of the map (outvoted fragments)", low=0)


@dataclass(frozen=True)
class Config:
    reconstruction: ReconstructionConfig = section(ReconstructionConfig)
    masks: MasksConfig = section(MasksConfig)
    features: FeaturesConfig = section(FeaturesConfig)
    refinement: RefinementConfig = section(RefinementConfig)
    memory: MemoryConfig = section(MemoryConfig)
    fusion: FusionConfig = section(FusionConfig)
    map: MapConfig = section(MapConfig)
    pipeline: bool = live(
        False, "masks and features that look at the image alone are made while the reconstruction works; same results"
    )
    device: str = value("auto", "auto, cpu, cuda or cuda:N; auto takes a GPU where there is one")
    seed: int = value(0, "seed of everything random", low=0)


def load_config(
    *files: str | Path, overrides: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> Config:
    """The defaults (some of which `defaults` may replace), overlaid by YAML files in turn, then by dotted `overrides`.

    Raises ConfigError for a file that is not YAML, an unknown key (naming the nearest), or a value out of range.
    """
    config = overlay(Config(), defaults or {}, "defaults")
    for file in files:
        config = overlay(config, flatten(read_yaml(Path(file))), str(file))
    return overlay(config, overrides or {}, "--set")
