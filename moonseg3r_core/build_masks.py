"""The nano masks' room with its net: weights found and loaded."""

from __future__ import annotations

from typing import Any

import torch

from moonseg3r_core.masks.mask_net import read_mask_net
from moonseg3r_core.masks.nano import NanoMasks
from moonseg3r_core.weights import find

NAME = "nano_masks"  # the weights that come with the package


def make_nano_masks(weights: str, device: torch.device, **room: Any) -> NanoMasks:
    """The room as `masks.nano` describes it; `weights`: a file, empty for those that come with the package.

    Raises InputError for weights that are not there or not whole.
    """
    net = read_mask_net(find(weights or NAME)).to(device)
    return NanoMasks(net.to(memory_format=torch.channels_last), **room)  # type: ignore[call-overload]
