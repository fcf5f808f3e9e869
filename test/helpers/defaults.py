"""Implementations with the settings of the default configuration, some of them changed."""

from dataclasses import asdict

import torch

from moonseg3r_core.features.config import HandcraftedConfig
from moonseg3r_core.features.handcrafted import HandcraftedFeatures
from moonseg3r_core.masks.config import FastSamConfig, Mask2FormerConfig, NanoMasksConfig, RegionsConfig, SamConfig
from moonseg3r_core.masks.fastsam import build as build_fastsam
from moonseg3r_core.masks.image_features import make_image_features
from moonseg3r_core.masks.mask2former import Mask2FormerMasks
from moonseg3r_core.masks.mask2former import build as build_mask2former
from moonseg3r_core.masks.nano import NanoMasks
from moonseg3r_core.masks.nano import build as build_nano
from moonseg3r_core.masks.regions import RegionMasks
from moonseg3r_core.masks.sam import AutomaticMasks
from moonseg3r_core.memory.config import IndexMemoryConfig
from moonseg3r_core.memory.memory import IndexMemory

MIN_AREA = {"min_area": 50}
CPU = torch.device("cpu")


def settings(config, *left_out):
    """The settings of a section, without those that its factory does not hand on."""
    return {name: value for name, value in asdict(config).items() if name not in left_out}


def make_handcrafted(**changes):
    return HandcraftedFeatures(**({"cell": 16} | settings(HandcraftedConfig()) | changes))


def make_regions(**changes):
    return RegionMasks(**(MIN_AREA | settings(RegionsConfig()) | changes))


def make_nano_masks(net, **changes):
    return NanoMasks(net, make_image_features(CPU), **(MIN_AREA | settings(NanoMasksConfig(), "weights") | changes))


def make_mask2former(net, **changes):
    return Mask2FormerMasks(net, **(MIN_AREA | settings(Mask2FormerConfig(), "weights", "precision") | changes))


def load_nano_masks(weights, **changes):
    return build_nano(**(MIN_AREA | settings(NanoMasksConfig()) | {"weights": str(weights), "device": CPU} | changes))


def load_mask2former(weights, **changes):
    own = MIN_AREA | settings(Mask2FormerConfig()) | {"weights": str(weights), "device": CPU}
    return build_mask2former(**(own | changes))


def load_fastsam(weights, **changes):
    return build_fastsam(**(MIN_AREA | settings(FastSamConfig()) | {"weights": str(weights), "device": CPU} | changes))


def make_automatic(net, fit, **changes):
    own = settings(SamConfig(), "weights", "precision", "preset") | {"points_per_side": 32, "points_per_batch": 48}
    return AutomaticMasks(net, fit, **(MIN_AREA | own | changes))


def make_memory(**changes):
    return IndexMemory(**(settings(IndexMemoryConfig()) | changes))
