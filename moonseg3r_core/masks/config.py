"""The configuration of the mask stage: its kinds, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import PRECISION, PRECISIONS, WEIGHTS, Kind, live, section

KINDS = {
    "precomputed": Kind("moonseg3r_core.masks.precomputed:build"),
    "nano": Kind("moonseg3r_core.masks.nano:build", device=True),
    "regions": Kind("moonseg3r_core.masks.regions:RegionMasks"),
    "sam2": Kind("moonseg3r_core.masks.sam:build_sam2", image_only=True, device=True),
    "sam": Kind("moonseg3r_core.masks.sam:build_sam", image_only=True, device=True),
    "fastsam": Kind("moonseg3r_core.masks.fastsam:build", image_only=True, device=True),
    "mask2former": Kind("moonseg3r_core.masks.mask2former:build", image_only=True, device=True),
    "cropformer": Kind("moonseg3r_core.masks.cropformer:build", image_only=True, device=True),
}


@dataclass(frozen=True)
class PrecomputedConfig:
    folder: str = live("", "folder of masks; empty: `masks` in the recording")


@dataclass(frozen=True)
class NanoMasksConfig:
    weights: str = live("", "file of weights (moonseg3r train masks); empty: those that come with the package")
    long_side: int = live(320, "the longer side of the net's input, pixels", low=64)
    smooth: float = live(0.7, "width of the smoothing of boundaries, pixels", low=0.0)
    join: float = live(0.4, "regions with a mean affinity above this are one", low=0.0, high=1.0)
    prior: float = live(
        0.3, "pixels that the map shows as one object are more alike by this share of what they lack", low=0.0, high=1.0
    )


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
class SamConfig:
    weights: str = live("sam-vit-base", WEIGHTS)
    precision: str = live("float32", PRECISION, choices=PRECISIONS)
    preset: str = live(
        "fast",
        "prompt points; fast: 12 along each side of the image, for robots; published: 32, about seven times as many",
        choices=("fast", "published"),
    )
    points_per_side: int = live(0, "points along each side of the image; 0: the preset's", low=0, high=64)
    predicted_iou: float = live(0.88, "masks of a lower predicted IoU are left out", low=0.0, high=1.0)
    stability: float = live(0.95, "masks whose area changes more with the net's cutoff are left out", low=0.0, high=1.0)
    box_overlap: float = live(0.7, "of masks whose boxes have a higher IoU the best stays", low=0.0, high=1.0)
    mask_overlap: float = live(0.8, "of masks with a higher IoU the best stays", low=0.0, high=1.0)
    small_regions: int = live(100, "smaller holes are filled and smaller islands dropped, pixels; 0: none are", low=0)


@dataclass(frozen=True)
class Sam2Config(SamConfig):
    weights: str = live("sam2.1-tiny", WEIGHTS)
    predicted_iou: float = live(0.8, "masks of a lower predicted IoU are left out", low=0.0, high=1.0)


@dataclass(frozen=True)
class FastSamConfig:
    weights: str = live("fastsam-s", "installed weights (moonseg3r weights list), or a file that ultralytics reads")
    long_side: int = live(1024, "the longer side of the net's input, pixels", low=32)
    confidence: float = live(0.4, "masks of lower confidence are left out", low=0.0, high=1.0)
    box_overlap: float = live(0.9, "of masks whose boxes have a higher IoU the best stays", low=0.0, high=1.0)


@dataclass(frozen=True)
class Mask2FormerConfig:
    weights: str = live("mask2former-swin-tiny-coco-panoptic", WEIGHTS)
    precision: str = live("float32", PRECISION, choices=PRECISIONS)
    short_side: int = live(800, "the shorter side of the net's input, pixels", low=32)
    long_side: int = live(1333, "the longer side of the net's input is at most this, pixels", low=32)
    confidence: float = live(0.5, "entities of lower confidence are left out", low=0.0, high=1.0)
    mask_threshold: float = live(0.5, "a pixel with more than this probability is in the mask", low=0.0, high=1.0)


@dataclass(frozen=True)
class CropFormerConfig:
    folder: str = live(
        "", "folder that CropFormer's own script wrote; empty: the model runs live, where it is installed"
    )
    project: str = live("", "live: the folder CropFormer of its authors, with demo_cropformer/ and mask2former/ in it")
    net: str = live(
        "cropformer_hornet_3x", "live: the net of these weights, by its file in configs/entityv2/entity_segmentation/"
    )
    weights: str = live("cropformer", "installed weights (moonseg3r weights list), or a file of its authors")
    confidence: float = live(0.5, "live: masks of lower confidence are left out", low=0.0, high=1.0)


@dataclass(frozen=True)
class MasksConfig:
    kind: str = live(
        "auto",
        "where 2D masks come from; auto: precomputed where the recording brings them, else nano; nano: by the small net "
        "in the package; regions: without weights, from color and surface; the others: published models (docs/models.md)",
        choices=("auto", *KINDS),
    )
    min_area: int = live(50, "smaller masks are dropped, pixels", low=1)
    every: int = live(1, "every n-th frame is segmented; the others only extend the map", low=1)
    precomputed: PrecomputedConfig = section(PrecomputedConfig)
    nano: NanoMasksConfig = section(NanoMasksConfig)
    sam2: Sam2Config = section(Sam2Config)
    sam: SamConfig = section(SamConfig)
    fastsam: FastSamConfig = section(FastSamConfig)
    mask2former: Mask2FormerConfig = section(Mask2FormerConfig)
    cropformer: CropFormerConfig = section(CropFormerConfig)
    regions: RegionsConfig = section(RegionsConfig)
