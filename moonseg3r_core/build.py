"""Building a segmenter: a configuration in, the pipeline with one implementation of each stage out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.config import Config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.features.config import KINDS as FEATURES
from moonseg3r_core.fusion.config import STAGES as FUSION
from moonseg3r_core.masks.config import KINDS as MASKS
from moonseg3r_core.memory.config import KINDS as MEMORY
from moonseg3r_core.reconstruction.config import KINDS as RECONSTRUCTION
from moonseg3r_core.reconstruction.config import UNTRAINED
from moonseg3r_core.refinement.config import KINDS as REFINEMENT
from moonseg3r_core.resolve import UNKNOWN, RecordingFacts, resolve
from moonseg3r_core.runtime.concurrent import ConcurrentStage
from moonseg3r_core.segmenter import OnlineSegmenter, Stages
from moonseg3r_core.settings import Kind, fixed_changes
from moonseg3r_core.weights import compute_hash, find

SCHEDULE = Kind("moonseg3r_core.runtime.schedule:MaskSchedule", fields=("every",))
CONCURRENT = "moonseg3r_core.build:make_concurrent"


@dataclass(frozen=True)
class StageSpec:
    """How an implementation is made: its factory as `module:function`, and the arguments. Equal specs make equal ones."""

    factory: str
    settings: Mapping[str, Any]

    def make(self) -> Any:
        """Import the factory and call it."""
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)(**self.settings)


def build_segmenter(config: Config, *, masks_folder: Path | None = None) -> OnlineSegmenter:
    """Build the segmenter that `config` describes. `masks_folder` holds the masks that the recording itself has.

    Raises ConfigError for settings that cannot go together, InputError for a folder without masks, MissingDependency
    for an absent package.
    """
    config = resolve(config, RecordingFacts(masks_folder))
    torch.manual_seed(config.seed)
    stages = {name: spec.make() for name, spec in specify_stages(config).items()}
    return OnlineSegmenter(Stages(**stages), torch.device(config.device))


def reconfigure(segmenter: OnlineSegmenter, old: Config, new: Config, recording: RecordingFacts = UNKNOWN) -> None:
    """Bring a segmenter from the configuration `old` to `new` between two frames.

    Stages whose settings differ get new implementations; those with a state keep it. Raises ConfigError for settings that
    may not change while a map exists, and what `build_segmenter` raises; nothing has changed then.
    """
    old, new = resolve(old, recording), resolve(new, recording)
    fixed = [f"{name} must stay {before}, got {after}" for name, (before, after) in fixed_changes(old, new).items()]
    if fixed:
        raise ConfigError(f"while there is a map, {', '.join(fixed)}; forget the map and build the segmenter anew.")
    before, after = specify_stages(old), specify_stages(new)
    stages = {name: spec.make() for name, spec in after.items() if spec != before[name]}
    segmenter.replace_stages(keep_state=True, **stages)


def make_stage(name: str, config: Config) -> Any:
    """Make the implementation of one stage of a configuration. Raises as `build_segmenter`."""
    return specify_stages(resolve(config))[name].make()


def specify_stages(config: Config) -> dict[str, StageSpec]:
    """Specify the implementation of every stage of a resolved configuration."""
    net, index = config.reconstruction.net, config.memory.index
    seed = {"seed": config.seed if config.reconstruction.random else None} if net else {}
    keys = {"cell": index.cell, "merge_distance": index.merge_distance}
    return {
        "budget": _specify(SCHEDULE, config.masks, config),
        "reconstruction": _specify_kind(RECONSTRUCTION, config.reconstruction, config, **seed),
        "masks": _specify_kind(MASKS, config.masks, config, min_area=config.masks.min_area),
        "features": _specify_kind(FEATURES, config.features, config),
        "memory": _specify_kind(MEMORY, config.memory, config),
        "refinement": _specify_kind(REFINEMENT, config.refinement, config),
        "lift": _specify(FUSION["lift"], config.fusion, config, **keys),
        "merge": _specify(FUSION["merge"], config.fusion, config),
        "match": _specify(FUSION["match"], config.fusion, config),
        "store": _specify(FUSION["store"], config.fusion, config, voxel=config.map.voxel, samples=config.map.samples),
    }


def check_config(config: Config) -> None:
    """Raise ConfigError for settings that cannot go together, InputError for masks, or weights for masks, that are missing.

    It loads no model, so that a node can answer a change of its parameters at once; those of the other models are fixed.
    """
    config = resolve(config)
    if config.masks.kind == "precomputed":
        specify_stages(config)["masks"].make()
    masks: Any = getattr(config.masks, config.masks.kind, None)
    if getattr(masks, "weights", "") and not getattr(masks, "folder", ""):
        find(masks.weights)


def hash_weights(config: Config) -> dict[str, str]:
    """Compute the sha256 of the weights that a segmenter of a resolved configuration loads, by name; UNTRAINED for random ones."""
    sections: list[Any] = [config.masks, config.features, config.refinement, config.reconstruction]
    own: list[Any] = [getattr(section, section.kind, None) for section in sections]
    named = [each for each in own if getattr(each, "weights", "") and not getattr(each, "folder", "")]
    net = config.reconstruction.net if config.reconstruction.random else None
    untrained = {net.model: UNTRAINED} if net else {}
    named += [config.reconstruction.multi_view] if config.reconstruction.is_refined else []
    return untrained | {each.weights: compute_hash(find(each.weights)) for each in named if each is not net}


def make_concurrent(spec: StageSpec, device: torch.device) -> Any:
    """Make the implementation of a spec, and run it concurrently with the reconstruction."""
    return ConcurrentStage(spec.make(), device)


def _specify_kind(kinds: Mapping[str, Kind], section: Any, config: Config, **shared: Any) -> StageSpec:
    """Specify the implementation that a section's `kind` names, with the settings of that kind."""
    kind, own = kinds[section.kind], getattr(section, section.kind, None)
    spec = _specify(kind, section, config, **shared, **(asdict(own) if own else {}))
    if config.pipeline and kind.image_only:
        return StageSpec(CONCURRENT, {"spec": spec, "device": torch.device(config.device)})
    return spec


def _specify(kind: Kind, section: Any, config: Config, **settings: Any) -> StageSpec:
    settings |= {name: getattr(section, name) for name in kind.fields}
    if kind.device:
        settings["device"] = torch.device(config.device)
    return StageSpec(kind.factory, settings)
