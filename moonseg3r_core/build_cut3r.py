"""CUT3R's room with its net: weights found and loaded, or random ones where they are asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.errors import ConfigError, InputError
from moonseg3r_core.reconstruction.cut3r.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r
from moonseg3r_core.reconstruction.cut3r.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.reconstruction import Cut3rReconstruction
from moonseg3r_core.reconstruction.cut3r.sizes import SIZES
from moonseg3r_core.reconstruction.cut3r.state import UPDATES
from moonseg3r_core.weights import find, hash_of, record_of

RANDOM = "set reconstruction.random=true for an untrained net, which is good for tests and timing alone"


def make_cut3r(
    model: str,
    weights: str,
    rope_fp16: bool,
    state: str,
    attention: str,
    seed: int | None,
    device: torch.device,
    **room: Any,
) -> Cut3rReconstruction:
    """The room as `reconstruction.cut3r` describes it; with a seed, the net is untrained.

    Raises InputError for weights that are not there or not whole, ConfigError for a layer that the net does not have.
    """
    net = open_net(model, weights, rope_fp16, state, seed, device)
    return Cut3rReconstruction(net, attention=state_attention(attention, net.sizes.dec_depth), **room)


@lru_cache(maxsize=1)
def open_net(model: str, weights: str, rope_fp16: bool, state: str, seed: int | None, device: torch.device) -> Cut3r:
    """The net on a device. It remembers nothing, so that one serves all who ask for the same."""
    update = UPDATES[state]()
    if seed is None:
        path = find_weights(model, weights)
        if record_of(path):
            hash_of(path)  # what was installed is there still, by whatever name it was asked for
        net = load_cut3r(path, rope_fp16=rope_fp16, update=update).to(device)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Cut3r(SIZES[model], rope_fp16=rope_fp16, update=update).eval().requires_grad_(False).to(device)


def find_weights(model: str, weights: str) -> Path:
    """The file with a model's weights: the one named, else the installed one. Raises InputError where it is missing."""
    if not weights and model == "cut3r-tiny":
        raise ConfigError(f"reconstruction.cut3r.model=cut3r-tiny has no weights; {RANDOM}, or choose cut3r-512.")
    try:
        return find(weights or model)
    except InputError as error:
        raise InputError(f"{str(error).removesuffix('.')}; or {RANDOM}.") from error


def state_attention(layers: str, depth: int) -> StateAttention | None:
    """`mean`, `last`, a layer's number from 0, or `none`. Raises ConfigError for anything else."""
    known: dict[str, StateAttention | None] = {str(number): StateAttention((number,)) for number in range(depth)}
    known |= {"none": None, "mean": StateAttention(), "last": StateAttention((-1,))}
    if layers not in known:
        raise ConfigError(
            f"reconstruction.cut3r.attention must be mean, last, none or a layer from 0 to {depth - 1}, got '{layers}'."
        )
    return known[layers]
