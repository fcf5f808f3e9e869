"""The configuration of the feature stage: its kinds, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import PRECISION, PRECISIONS, WEIGHTS, Kind, section, value

KINDS = {
    "handcrafted": Kind("moonseg3r_core.features.handcrafted:HandcraftedFeatures", fields=("cell",)),
    "reconstruction": Kind("moonseg3r_core.features.reconstruction:ReconstructionFeatures"),
    "dinov3": Kind("moonseg3r_core.features.dino:build_dinov3", image_only=True, device=True),
    "dinov2": Kind("moonseg3r_core.features.dino:build_dinov2", image_only=True, device=True),
}
LONG_SIDE = "longer side of the net's input, rounded to whole patches, pixels; 0: the image's own"


@dataclass(frozen=True)
class HandcraftedConfig:
    color_range: float = value(200.0, "longest wavelength of the color features, L*a*b* units", low=1.0)
    lightness: float = value(0.5, "weight of lightness against chroma", low=0.0)
    texture: float = value(0.3, "weight of texture against color", low=0.0)


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
class FeaturesConfig:
    kind: str = value(
        "handcrafted",
        "2D features (F2d); handcrafted: color and texture; reconstruction: the tokens of its net's image encoder; dinov3, "
        "dinov2: published models (docs/models.md)",
        choices=tuple(KINDS),
    )
    cell: int = value(16, "pixels per cell of the handcrafted features", low=4, high=64)
    handcrafted: HandcraftedConfig = section(HandcraftedConfig)
    dinov3: Dinov3Config = section(Dinov3Config)
    dinov2: Dinov2Config = section(Dinov2Config)
