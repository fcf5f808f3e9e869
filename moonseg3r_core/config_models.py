"""The configuration of the published foundation models: one section for each, their weights by name or folder."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import live, value

PRECISIONS = ("float32", "bfloat16", "float16")
PRECISION = "numbers inside the net; what comes out is float32"
WEIGHTS = "installed weights (moonseg3r weights list), or a folder with config.json and model.safetensors"
LONG_SIDE = "longer side of the picture that the net looks at, rounded to whole patches, pixels; 0: the image's own"


@dataclass(frozen=True)
class Dinov3Config:
    weights: str = value("dinov3-vits16", WEIGHTS)
    precision: str = value("float32", PRECISION, choices=PRECISIONS)
    long_side: int = value(512, LONG_SIDE, low=0, high=8192)


@dataclass(frozen=True)
class Dinov2Config:
    weights: str = value("dinov2-small", WEIGHTS)
    precision: str = value("float32", PRECISION, choices=PRECISIONS)
    long_side: int = value(512, LONG_SIDE, low=0, high=8192)


@dataclass(frozen=True)
class SamConfig:
    weights: str = live("sam-vit-base", WEIGHTS)
    precision: str = live("float32", PRECISION, choices=PRECISIONS)
    preset: str = live(
        "fast",
        "points that the net is asked about; fast: 12 along each side of the image, for robots; published: 32, about "
        "seven times as many",
        choices=("fast", "published"),
    )
    points_per_side: int = live(0, "points along each side of the image; 0: the preset's", low=0, high=64)
    predicted_iou: float = live(0.88, "masks that the net trusts less are left out", low=0.0, high=1.0)
    stability: float = live(0.95, "masks whose area changes more with the net's cutoff are left out", low=0.0, high=1.0)
    box_overlap: float = live(0.7, "of masks whose boxes have a higher IoU the best stays", low=0.0, high=1.0)
    mask_overlap: float = live(0.8, "of masks with a higher IoU the best stays", low=0.0, high=1.0)
    small_regions: int = live(100, "smaller holes are filled and smaller islands dropped, pixels; 0: none are", low=0)


@dataclass(frozen=True)
class Sam2Config(SamConfig):
    weights: str = live("sam2.1-tiny", WEIGHTS)
    predicted_iou: float = live(0.8, "masks that the net trusts less are left out", low=0.0, high=1.0)


@dataclass(frozen=True)
class Mask2FormerConfig:
    weights: str = live("mask2former-swin-tiny-coco-panoptic", WEIGHTS)
    precision: str = live("float32", PRECISION, choices=PRECISIONS)
    short_side: int = live(800, "the image's shorter side as the net looks at it, pixels", low=32)
    long_side: int = live(1333, "its longer side is at most this, pixels", low=32)
    confidence: float = live(0.5, "entities that the net trusts less are left out", low=0.0, high=1.0)
    mask_threshold: float = live(0.5, "a pixel with more than this probability is in the mask", low=0.0, high=1.0)


@dataclass(frozen=True)
class FastSamConfig:
    weights: str = live("fastsam-s", "installed weights (moonseg3r weights list), or a file that ultralytics reads")
    long_side: int = live(1024, "the image's longer side as the net looks at it, pixels", low=32)
    confidence: float = live(0.4, "masks that the model trusts less are left out", low=0.0, high=1.0)
    box_overlap: float = live(0.9, "of masks whose boxes have a higher IoU the best stays", low=0.0, high=1.0)


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
    confidence: float = live(0.5, "live: masks that the model trusts less are left out", low=0.0, high=1.0)
