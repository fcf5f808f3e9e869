"""The door: a configuration in, the house with its tenants out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.build_fusion import make_lift, make_match, make_merge, make_store, suited
from moonseg3r_core.build_queries import query_weights, settle_refinement
from moonseg3r_core.config import Config, fixed_changes
from moonseg3r_core.errors import ConfigError, SourceError
from moonseg3r_core.reconstruction.config import UNTRAINED
from moonseg3r_core.runtime.concurrent import ConcurrentStage
from moonseg3r_core.runtime.schedule import MaskSchedule
from moonseg3r_core.segmenter import OnlineSegmenter, Stages
from moonseg3r_core.weights import find, hash_of

TENANTS = {
    "reconstruction": {
        "nano": "moonseg3r_core.reconstruction.cut3r.build:make_nano",
        "cut3r": "moonseg3r_core.reconstruction.cut3r.build:make_cut3r",
        "rgbd": "moonseg3r_core.reconstruction.rgbd:RgbdReconstruction",
    },
    "masks": {
        "precomputed": "moonseg3r_core.masks.precomputed:PrecomputedMasks",
        "nano": "moonseg3r_core.build_masks:make_nano_masks",
        "regions": "moonseg3r_core.masks.regions:RegionMasks",
        "sam2": "moonseg3r_core.build_masks:make_sam2",
        "sam": "moonseg3r_core.build_masks:make_sam",
        "fastsam": "moonseg3r_core.build_entities:make_fastsam",
        "mask2former": "moonseg3r_core.build_entities:make_mask2former",
        "cropformer": "moonseg3r_core.build_entities:make_cropformer",
    },
    "features": {
        "handcrafted": "moonseg3r_core.features.handcrafted:HandcraftedFeatures",
        "reconstruction": "moonseg3r_core.features.reconstruction:ReconstructionFeatures",
        "dinov3": "moonseg3r_core.build_features:make_dinov3",
        "dinov2": "moonseg3r_core.build_features:make_dinov2",
    },
    "refinement": {
        "average": "moonseg3r_core.refinement.average:AverageRefinement",
        "learned": "moonseg3r_core.build_queries:make_learned",
    },
    "memory": {"index": "moonseg3r_core.memory.memory:IndexMemory", "none": "moonseg3r_core.memory.memory:NoMemory"},
}
WITHOUT_NET = ("precomputed", "regions", "handcrafted", "reconstruction")  # masks and features told no device
IMAGE_ALONE = ("nano", "sam2", "sam", "fastsam", "mask2former", "cropformer", "dinov3", "dinov2")  # and the grid
RGBD = ("depth", "intrinsics", "poses")  # what a reconstruction without a net takes from the recording


def build_segmenter(config: Config, *, masks_folder: Path | None = None) -> OnlineSegmenter:
    """The segmenter that `config` describes. `masks_folder` holds the masks that the recording itself brings.

    Raises ConfigError for settings that cannot go together, InputError for a folder without masks, MissingDependency
    for an absent package.
    """
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    tenants = recipes(find_settled(config, masks_folder), device)
    return OnlineSegmenter(Stages(**{room: recipe() for room, recipe in tenants.items()}), device)


def refit(segmenter: OnlineSegmenter, old: Config, new: Config, *, masks_folder: Path | None = None) -> None:
    """Bring a segmenter that `old` describes to `new`, between two frames: rooms whose settings differ get new tenants,
    those that remember go on with what is known, and the other rooms are left as they are.

    Raises ConfigError for settings that may not change while a map exists, and what `build_segmenter` raises; nothing
    is changed then.
    """
    fixed = [f"{name} must stay {before}, got {after}" for name, (before, after) in fixed_changes(old, new).items()]
    if fixed:
        raise ConfigError(f"while there is a map, {', '.join(fixed)}; forget the map and build the segmenter anew.")
    before = recipes(settle_masks(old, masks_folder), segmenter.device)
    after = recipes(find_settled(new, masks_folder), segmenter.device)
    segmenter.replace_stages(
        keep_state=True, **{room: recipe() for room, recipe in after.items() if recipe != before[room]}
    )


@dataclass(frozen=True)
class Recipe:
    """How a tenant is made. Equal recipes make equal tenants: what a room reads of the configuration is in `settings`."""

    make: Callable[..., Any]
    settings: Mapping[str, Any]

    def __call__(self) -> Any:
        return self.make(**self.settings)


def recipes(config: Config, device: torch.device) -> dict[str, Recipe]:
    """The tenant of every room in a configuration whose masks are settled."""
    config = settle_refinement(config)
    fusion, index = suited(config), config.memory.index
    return {
        "budget": Recipe(MaskSchedule, _of(config.masks, "every")),
        "reconstruction": reconstruction(config, device),
        "masks": _beside(masks(config, device), config.masks.kind, config, device),
        "features": _beside(features(config, device), config.features.kind, config, device),
        "memory": tenant("memory", config.memory),
        "refinement": refinement(config, device),
        "lift": Recipe(make_lift, _of(fusion, "boxes", "min_points") | _of(index, "cell", "merge_distance")),
        "merge": Recipe(make_merge, _of(fusion, "merge", "merge_threshold")),
        "match": Recipe(make_match, _of(fusion, "match", "match_threshold", "parts", "parts_share")),
        "store": Recipe(
            make_store,
            _of(fusion, "average", "overlap_voxel")
            | _of(fusion, "consensus", "consensus_cover", "consensus_views", "consensus_rate")
            | _of(config.map, "voxel", "samples")
            | {"device": device},
        ),
    }


def _beside(recipe: Recipe, kind: str, config: Config, device: torch.device) -> Recipe:
    """The recipe of a model, in the pipeline where there is one and the model looks at the image alone."""
    if not config.pipeline or kind not in IMAGE_ALONE:
        return recipe
    return Recipe(make_beside, {"recipe": recipe, "device": device})


def make_beside(recipe: Recipe, device: torch.device) -> ConcurrentStage:
    """The model of a recipe, in the pipeline."""
    return ConcurrentStage(recipe(), device)


def reconstruction(config: Config, device: torch.device) -> Recipe:
    """The tenant that reconstructs; one with a net finds its weights when it is made."""
    section = config.reconstruction
    if section.net is None:
        return tenant("reconstruction", section)
    seed = config.seed if section.random else None
    return tenant("reconstruction", section, seed=seed, device=device)


def masks(config: Config, device: torch.device) -> Recipe:
    """The tenant that makes masks; one with a net is told where to compute."""
    section = config.masks
    return tenant("masks", section, min_area=section.min_area, **_where(section.kind, device))


def features(config: Config, device: torch.device) -> Recipe:
    """The tenant for F2d. Raises ConfigError where the reconstruction has no encoder to take them from."""
    section = config.features
    if section.kind == "reconstruction" and config.reconstruction.net is None:
        raise ConfigError(
            "features.kind=reconstruction expects a reconstruction with a net (nano, cut3r), got "
            f"reconstruction.kind={config.reconstruction.kind}; set one of them, or features.kind=handcrafted."
        )
    own = {"cell": section.cell} if section.kind == "handcrafted" else {}
    return tenant("features", section, **own, **_where(section.kind, device))


def _where(kind: str, device: torch.device) -> dict[str, Any]:
    return {} if kind in WITHOUT_NET else {"device": device}


def refinement(config: Config, device: torch.device) -> Recipe:
    """The tenant that makes queries; a trained one finds its weights when it is made."""
    if config.refinement.kind == "average":
        return tenant("refinement", config.refinement)
    learned = replace(config.refinement.learned, weights=query_weights(config))
    return tenant("refinement", replace(config.refinement, learned=learned), device=device)


def weights_of(config: Config) -> dict[str, str]:
    """The sha256 of the weights that a segmenter of this configuration loads, by name; UNTRAINED for random ones."""
    config, names = settle_refinement(config), list[str]()
    net = config.reconstruction.net
    for room in (config.masks, config.features):
        own: Any = getattr(room, room.kind, None)
        if hasattr(own, "weights") and not getattr(own, "folder", ""):
            names.append(own.weights or "nano_masks")
    if config.refinement.kind == "learned":
        names.append(query_weights(config))
    if net and not config.reconstruction.random:
        names.append(net.weights or net.model)
    untrained = {net.model: UNTRAINED} if net and config.reconstruction.random else {}
    return untrained | {name: hash_of(find(name)) for name in names}


def needs(config: Config) -> tuple[str, ...]:
    """What the reconstruction takes from the recording beside images: of depth, intrinsics, poses."""
    net = config.reconstruction.net
    if net is None:
        return RGBD
    return ("poses",) if net.pose == "given" else ()


def check_recording(config: Config, name: str, lacks: Sequence[str]) -> None:
    """Raises SourceError when the reconstruction needs what no frame of the recording brings."""
    missing = [need for need in needs(config) if need in lacks]
    if missing:
        kind = config.reconstruction.kind
        setting = f"reconstruction.{kind}.pose=model" if config.reconstruction.net else "reconstruction.kind=nano"
        raise SourceError(
            f"reconstruction.kind={kind} expects {', '.join(needs(config))} with every image, {name} "
            f"brings no {' and no '.join(missing)}; give a ScanNet export (color/, depth/, pose/, intrinsic/), a bag with "
            f"depth, camera_info and TF or odometry, synthetic:SEED, or set {setting}, which needs none."
        )


def advice(config: Config, name: str, lacks: Sequence[str]) -> str:
    """What to know of a recording whose depth and poses are left unused; empty where there are none."""
    if config.reconstruction.kind != "nano" or any(need in lacks for need in RGBD):
        return ""
    return f"{name} brings depth and poses, which nano does without; --set reconstruction.kind=rgbd takes them."


def settle_masks(config: Config, masks_folder: Path | None) -> Config:
    """`masks.kind` auto decided: precomputed where the recording brings masks, else nano.

    Raises ConfigError for precomputed masks without a folder.
    """
    masks = config.masks
    if masks.kind == "auto":
        masks = replace(masks, kind="precomputed" if masks_folder or masks.precomputed.folder else "nano")
    if masks.kind == "precomputed" and not masks.precomputed.folder:
        if masks_folder is None:
            raise ConfigError(
                "masks.kind=precomputed expects a folder of masks, but the recording brings none; "
                "set masks.precomputed.folder, or use masks.kind=regions."
            )
        masks = replace(masks, precomputed=replace(masks.precomputed, folder=str(masks_folder)))
    return replace(config, masks=masks)


def find_settled(config: Config, masks_folder: Path | None) -> Config:
    """As `settle_masks`. Raises InputError for a folder without masks too."""
    config = settle_masks(config, masks_folder)
    if config.masks.kind == "precomputed":
        from moonseg3r_core.masks.precomputed import find_masks

        find_masks(Path(config.masks.precomputed.folder))
    return config


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


def tenant(room: str, section: Any, **shared: Any) -> Recipe:
    """The tenant of a room that its section's `kind` names, made with the settings of that kind."""
    own = getattr(section, section.kind, None)
    settings = shared | (asdict(own) if own else {})
    return Recipe(make_tenant, {"place": TENANTS[room][section.kind], "settings": settings})


def make_tenant(place: str, settings: Mapping[str, Any]) -> Any:
    """What is at `module:name`, imported when it is needed."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)(**settings)


def _of(section: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}
