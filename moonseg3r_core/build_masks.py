"""The mask rooms that have a net: weights found and loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.masks.mask_net import read_mask_net
from moonseg3r_core.masks.nano import NanoMasks
from moonseg3r_core.masks.sam import PRESETS, AutomaticMasks, Fit, Padded, Stretched
from moonseg3r_core.weights import find

NAME = "nano_masks"  # the weights that come with the package


def make_nano_masks(weights: str, device: torch.device, **room: Any) -> NanoMasks:
    """The room as `masks.nano` describes it; `weights`: a file, empty for those that come with the package.

    Raises WeightsError for weights that are not there or not whole.
    """
    net = read_mask_net(find(weights or NAME)).to(device)
    return NanoMasks(net.to(memory_format=torch.channels_last), **room)  # type: ignore[call-overload]


def make_sam(**settings: Any) -> AutomaticMasks:
    """SAM's room as `masks.sam` describes it. Raises MissingDependency without transformers, InputError for weights that
    are not there or not whole.
    """
    return _automatic("SamModel", Padded, **settings)


def make_sam2(**settings: Any) -> AutomaticMasks:
    """SAM 2's room as `masks.sam2` describes it; raises as `make_sam`."""
    return _automatic("Sam2Model", Stretched, **settings)


def _automatic(
    name: str,
    fit: Callable[[int], Fit],
    weights: str,
    precision: str,
    device: torch.device,
    preset: str,
    points_per_side: int,
    **room: Any,
) -> AutomaticMasks:
    net = load_model(name, find(weights), device, precision)
    fitted = fit(net.config.prompt_encoder_config.image_size)
    return AutomaticMasks(net, fitted, points_per_side=points_per_side or PRESETS[preset], **room)
