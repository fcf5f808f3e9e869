"""Resolving a configuration: every `auto` and every 0 that stands for a default becomes what it means.

`resolve` is the only place that decides. What it returns is what is built, and what summaries, map files and logs keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.config import Config
from moonseg3r_core.errors import ConfigError, SourceError
from moonseg3r_core.ops.spatial_keys import choose_cell
from moonseg3r_core.settings import list_settings
from moonseg3r_core.sources.config import InputConfig
from moonseg3r_core.sources.input_check import InputCheck

RGBD_INPUTS = ("depth", "intrinsics", "poses")  # what a reconstruction without a network takes from the recording
# By reconstruction.kind. Estimated poses and depth put a surface in a slightly different place each time: voxels must be
# larger, and a match needs more similarity. Learned queries are less alike than averages.
OVERLAP_VOXEL = {"rgbd": 0.05, "nano": 0.1, "depth": 0.1}
MATCH_THRESHOLD = {"average": {"rgbd": 1.0, "nano": 1.5}, "learned": {"rgbd": 0.85, "nano": 1.25}}
MERGE_THRESHOLD = {"borders": 0.4, "similarity": 0.8}
QUERY_WEIGHTS = {"rgbd": "rgbd_queries", "nano": "nano_queries"}
POINTS_PER_SIDE = {"fast": 12, "published": 32}  # of masks.sam.preset


@dataclass(frozen=True)
class RecordingFacts:
    """What decides about settings beside the settings: the recording's own folder of masks, and the width in pixels of
    the geometry's grid, which the first frame tells; None where there is none, or it is not known yet.
    """

    masks_folder: Path | None = None
    grid_width: int | None = None


UNKNOWN = RecordingFacts()


def resolve(config: Config, recording: RecordingFacts = UNKNOWN) -> Config:
    """Return the configuration with all that is left open decided. A resolved configuration stays as it is.

    `memory.index.cell` stays 0 until the width of the geometry's grid is known. Raises ConfigError for settings that
    cannot go together.
    """
    config = replace(config, device=str(choose_device(config.device)), input=_resolve_input(config.input))
    config = _resolve_weights(_resolve_masks(config, recording.masks_folder))
    config = _resolve_refinement(_check_features(config))
    return _resolve_memory(_resolve_fusion(config), recording.grid_width)


def choose_device(name: str) -> torch.device:
    """Return the device of that name; auto takes a GPU where there is one. Raises ConfigError for one that is absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with suppress(RuntimeError):
        device, count = torch.device(name), torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= count:
            raise ConfigError(f"device={name} is not there: torch sees {count} GPUs; use device=auto or cpu.")
        if device.type in ("cpu", "cuda"):
            return device
    raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got '{name}'.")


def required_inputs(config: Config) -> tuple[str, ...]:
    """What the reconstruction takes from the recording beside images: of depth, intrinsics and poses."""
    net = config.reconstruction.net
    if net is None:
        return RGBD_INPUTS
    return ("poses",) if net.pose == "given" else ()


def make_input_check(config: Config, depth_scale: float = 0.0, axes: str = "optical") -> InputCheck:
    """Make the check of what a configuration takes of a recording, which reads depth and poses so where it is left open."""
    rgbd = config.reconstruction.rgbd
    return InputCheck(config.input, required_inputs(config), (rgbd.min_depth, rgbd.max_depth), depth_scale, axes)


def check_recording(config: Config, name: str, lacks: Sequence[str], why: Mapping[str, str] | None = None) -> None:
    """Raise SourceError when the reconstruction needs what no frame of the recording has; `why` it is not there."""
    required = required_inputs(config)
    missing = [item for item in required if item in lacks]
    if missing:
        kind = config.reconstruction.kind
        own = "model" if config.reconstruction.has_tokens else "tracked"
        setting = f"reconstruction.{kind}.pose={own}" if config.reconstruction.net else "reconstruction.kind=nano"
        if reasons := [f"no {item}: {why[item]}" for item in missing if why and why.get(item)]:
            needs = f"reconstruction.kind={kind} expects {', '.join(required)} with every image"
            raise SourceError(f"{needs}, {name} brings {'; '.join(reasons)}; or set {setting}, which needs none.")
        raise SourceError(
            f"reconstruction.kind={kind} expects {', '.join(required)} with every image, {name} "
            f"brings no {' and no '.join(missing)}; give a ScanNet export (color/, depth/, pose/, intrinsic/) or "
            f"another layout of docs/recordings.md, a bag with depth, camera_info and TF or odometry, synthetic:SEED, or set {setting}, which needs none."
        )


def describe_resolved(config: Config, recording: RecordingFacts = UNKNOWN) -> str:
    """Describe the settings that are resolved to another value than was requested."""
    pairs = zip(list_settings(config), list_settings(resolve(config, recording)), strict=True)
    return " ".join(f"{ours.name}={resolved.value}" for ours, resolved in pairs if ours.value != resolved.value)


def usage_hint(config: Config, name: str, lacks: Sequence[str]) -> str:
    """What to tell of a recording whose depth and poses are not used; empty where there is nothing to tell."""
    if config.reconstruction.kind not in ("nano", "depth") or any(item in lacks for item in RGBD_INPUTS):
        return ""
    unused = " and ".join(item for item in ("depth", "poses") if item not in required_inputs(config))
    return f"{name} brings {unused}, which {config.reconstruction.kind} does without; --set reconstruction.kind=rgbd takes them."


def _resolve_input(input: InputConfig) -> InputConfig:
    """`input.camera_axes=auto` reads poses as those of an optical frame; readers check that they are."""
    return replace(input, camera_axes="optical") if input.camera_axes == "auto" else input


def _resolve_masks(config: Config, masks_folder: Path | None) -> Config:
    """`masks.kind=auto` takes the recording's own masks where it has some, else nano."""
    masks = config.masks
    if masks.kind == "auto":
        masks = replace(masks, kind="precomputed" if masks_folder or masks.precomputed.folder else "nano")
    if masks.kind == "precomputed" and not masks.precomputed.folder and masks_folder is not None:
        masks = replace(masks, precomputed=replace(masks.precomputed, folder=str(masks_folder)))
    for name in ("sam", "sam2"):
        sam: Any = getattr(masks, name)
        points = sam.points_per_side or POINTS_PER_SIDE[sam.preset]
        masks = replace(masks, **{name: replace(sam, points_per_side=points)})
    return replace(config, masks=masks)


def _resolve_weights(config: Config) -> Config:
    """Weights that are not named are those in the package, or the installed ones of the model."""
    masks, reconstruction = config.masks, config.reconstruction
    if not masks.nano.weights:
        masks = replace(masks, nano=replace(masks.nano, weights="nano_masks"))
    for name in ("nano", "cut3r"):
        net: Any = getattr(reconstruction, name)
        if not net.weights:
            reconstruction = replace(reconstruction, **{name: replace(net, weights=net.model)})
    if not reconstruction.multi_view.weights:
        multi_view = replace(reconstruction.multi_view, weights="multi_view")
        reconstruction = replace(reconstruction, multi_view=multi_view)
    return replace(config, masks=masks, reconstruction=reconstruction)


def _check_features(config: Config) -> Config:
    if config.features.kind == "reconstruction" and not config.reconstruction.has_tokens:
        raise ConfigError(
            "features.kind=reconstruction expects a reconstruction with a net (nano, cut3r), got "
            f"reconstruction.kind={config.reconstruction.kind}; set one of them, or features.kind=handcrafted."
        )
    return config


def _resolve_refinement(config: Config) -> Config:
    """`refinement.kind=auto` is learned where that measures better (docs/benchmarks.md) and the features are those that
    the weights in the package were trained on, or where weights are named.
    """
    refinement, kind = config.refinement, config.reconstruction.kind
    if refinement.kind == "auto":
        trained_on = config.features.kind == "handcrafted" and config.reconstruction.nano.geometric == "positions"
        learned = (kind == "nano" and trained_on) or bool(refinement.learned.weights)
        refinement = replace(refinement, kind="learned" if learned else "average")
    if refinement.kind == "learned" and not refinement.learned.weights:
        if kind not in QUERY_WEIGHTS:
            raise ConfigError(
                f"refinement.kind=learned expects weights trained on reconstruction.kind={kind}, and none come with the package; "
                "train them (moonseg3r train queries) and set refinement.learned.weights, or set refinement.kind=average."
            )
        refinement = replace(refinement, learned=replace(refinement.learned, weights=QUERY_WEIGHTS[kind]))
    return replace(config, refinement=refinement)


def _resolve_fusion(config: Config) -> Config:
    """Settings of fusion that are left at 0 or auto suit the reconstruction and the queries."""
    fusion, kind, queries = config.fusion, config.reconstruction.kind, config.refinement.kind
    merge = fusion.merge
    if merge == "auto":
        merge = "borders" if queries == "learned" else "none"
    thresholds = MATCH_THRESHOLD[queries]
    fallback = MATCH_THRESHOLD["average"]["rgbd"]  # of reconstructions that were not measured
    fusion = replace(
        fusion,
        merge=merge,
        merge_threshold=fusion.merge_threshold or MERGE_THRESHOLD.get(merge, 0.0),
        match_threshold=fusion.match_threshold or thresholds.get(kind, fallback),
        overlap_voxel=fusion.overlap_voxel or OVERLAP_VOXEL.get(kind, OVERLAP_VOXEL["rgbd"]),
    )
    return replace(config, fusion=fusion)


def _resolve_memory(config: Config, grid_width: int | None) -> Config:
    """`memory.index.cell=0` gives a fixed number of cells from left to right."""
    index = config.memory.index
    if grid_width is None or index.cell:
        return config
    index = replace(index, cell=choose_cell(grid_width))
    return replace(config, memory=replace(config.memory, index=index))
