"""The factory of the depth networks' stage, with trained or random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.io.huggingface import import_transformers, load_model
from moonseg3r_core.reconstruction.config import MultiViewConfig, OdometryConfig
from moonseg3r_core.reconstruction.depth.network import DepthNetwork
from moonseg3r_core.reconstruction.depth.reconstruction import DepthReconstruction
from moonseg3r_core.reconstruction.multi_view.depth import DepthRefinement, build_refinement
from moonseg3r_core.reconstruction.odometry.depth_alignment import (
    AlignedTracker,
    DepthAlignment,
    MetricDepth,
    RelativeDepth,
)
from moonseg3r_core.reconstruction.odometry.tracker import Tracker
from moonseg3r_core.reconstruction.pose_source import ExternalPoses, OdometryPoses, PoseSource
from moonseg3r_core.weights import find

LOG_SIGMA = 0.1  # of what a network's depth is off smoothly within an image; chosen on rendered rooms with such errors
METRIC = ("indoor", "outdoor")  # in the names of weights that give metres
NET = "DepthAnythingForDepthEstimation"


def build_depth(
    weights: str, pose: str, precision: str, short_side: int, stride: int, max_depth: float, field_of_view: float,
    seed: int | None, device: torch.device, multi_view: MultiViewConfig, odometry: OdometryConfig,
) -> DepthReconstruction:  # fmt: skip
    """Build the stage that `reconstruction.depth` configures; with a seed, the network is untrained.

    Raises MissingDependency without transformers, WeightsError for weights that are missing or incomplete.
    """
    net = load_model(NET, find(weights), device, precision) if seed is None else make_random_net(weights, seed, device)
    network = DepthNetwork(net, short_side, stride)
    alignment = MetricDepth(LOG_SIGMA) if network.is_metric else RelativeDepth(LOG_SIGMA)
    refinement = build_refinement(multi_view, device)
    return DepthReconstruction(
        network, make_poses(pose, alignment, refinement, odometry.loops), alignment, max_depth, field_of_view
    )


def make_poses(pose: str, alignment: DepthAlignment, refinement: DepthRefinement, loops: bool) -> PoseSource:
    """Make the source of poses that a setting names, which corrects first depth by landmarks and the alignment."""
    if pose == "given":
        return ExternalPoses(alignment, refinement)
    return OdometryPoses(AlignedTracker(Tracker(loops), alignment), refinement)


def make_random_net(weights: str, seed: int, device: torch.device) -> Any:
    """Make a network of the smallest published size with random weights, the same for a seed.

    It gives metres where the name of the weights says so. A folder of weights gives its own configuration.
    """
    transformers = import_transformers(NET)
    folder = Path(weights).expanduser()
    if folder.is_dir():
        config = transformers.DepthAnythingConfig.from_pretrained(folder, local_files_only=True)
    else:
        is_metric = any(place in weights for place in METRIC)
        kind = {"depth_estimation_type": "metric", "max_depth": 20} if is_metric else {}
        config = transformers.DepthAnythingConfig(**kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = getattr(transformers, NET)(config)
    return net.requires_grad_(False).eval().to(device)
