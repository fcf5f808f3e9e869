"""The configuration: a section for each stage, addressed by dotted names (`masks.regions.scale`).

The same names are the keys of a YAML file, of `--set` on the command line, and the ROS parameters. A section's own
module (`masks/config.py`) has its settings and its kinds; `settings.py` has what can be done with any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moonseg3r_core.features.config import FeaturesConfig
from moonseg3r_core.fusion.config import FusionConfig
from moonseg3r_core.masks.config import MasksConfig
from moonseg3r_core.memory.config import MemoryConfig
from moonseg3r_core.reconstruction.config import ReconstructionConfig
from moonseg3r_core.refinement.config import RefinementConfig
from moonseg3r_core.settings import flatten, live, overlay, read_yaml, section, value
from moonseg3r_core.sources.config import InputConfig


@dataclass(frozen=True)
class MapConfig:
    voxel: float = value(0.02, "edge of a map voxel, metres", low=1e-3)
    samples: int = live(38400, "pixels of a frame that enter the map, at most", low=1)
    min_observations: int = live(
        4,
        "instances seen in fewer frames are not published, though always saved; while none is seen as often yet, those seen less often than the most seen one",
        low=1,
    )
    min_points: int = live(
        30, "instances that hold fewer points of the map are not published (outvoted fragments)", low=0
    )


@dataclass(frozen=True)
class Config:
    input: InputConfig = section(InputConfig)
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
