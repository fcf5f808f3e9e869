"""Factories of CUT3R's stage, with the published net or nano, and with trained or random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from moonseg3r_core.errors import ConfigError, InputError, WeightsError
from moonseg3r_core.reconstruction.config import MultiViewConfig, NanoConfig, OdometryConfig
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r, read_checkpoint
from moonseg3r_core.reconstruction.cut3r.inference import cast_to_precision
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES
from moonseg3r_core.reconstruction.cut3r.net.state import UPDATES, StateUpdate
from moonseg3r_core.reconstruction.cut3r.reconstruction import Cut3rReconstruction
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth, build_refinement
from moonseg3r_core.weights import compute_hash, find, read_record
from moonseg3r_core.weights.embedded import EMBEDDED

ATTENTION = {"mean": StateAttention(), "last": StateAttention((-1,)), "none": None}
NANO, REINSTALL = NanoConfig.model, " It comes with the package: install moonseg3r again."
RANDOM = "set reconstruction.random=true for an untrained net, which is good for tests and timing alone"

_nets: WeakValueDictionary[tuple[object, ...], Cut3r] = WeakValueDictionary()


def build_cut3r(
    model: str, weights: str, rope_fp16: bool, state: str, attention: str, precision: str, seed: int | None,
    device: torch.device, multi_view: MultiViewConfig, odometry: OdometryConfig, **settings: Any,
) -> Cut3rReconstruction:  # fmt: skip
    """Build the stage that `reconstruction.cut3r` configures; with a seed, the net is untrained.

    Raises WeightsError for missing or damaged weights, ConfigError for a layer that the net does not have.
    """
    check_attention(attention)
    net = open_net(model, weights, rope_fp16, state, seed, device, precision)
    layers = parse_attention(attention, net.sizes.dec_depth)
    plain, use_first = settings["pose"] == "model", model != NANO  # nano's depth makes that of several views worse
    refinement = SingleViewDepth() if plain else build_refinement(multi_view, device, use_first)
    settings |= {"attention": layers, "precision": precision, "refinement": refinement, "loops": odometry.loops}
    return Cut3rReconstruction(net, **settings)


def build_nano(**settings: Any) -> Cut3rReconstruction:
    """Build the stage that `reconstruction.nano` configures, with our small net. Raises as `build_cut3r`."""
    return build_cut3r(model=NANO, rope_fp16=False, **settings)


def open_net(
    model: str, weights: str, rope_fp16: bool, state: str, seed: int | None, device: torch.device,
    precision: str = "float32",
) -> Cut3r:  # fmt: skip
    """Open the net on a device. It has no memory, so callers with the same arguments share one."""
    path = find_weights(model, weights) if seed is None else None
    file = (path, path.stat().st_size, path.stat().st_mtime_ns) if path else (model, weights)
    key = (file, rope_fp16, state, seed, device, precision)
    net = _nets.get(key)
    if net is None:
        update = UPDATES[state]()
        trained = load_trained_net(path, rope_fp16, update) if path else None
        net = trained or make_random_net(model, weights, rope_fp16, update, seed)
        net = cast_to_precision(net.to(device), precision)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _nets[key] = net
    return net


def load_trained_net(path: Path, rope_fp16: bool, update: StateUpdate) -> Cut3r:
    """Load the net of a file. Raises WeightsError for a damaged file, or an installed one that has changed."""
    if read_record(path):
        compute_hash(path)
    try:
        return load_cut3r(path, rope_fp16=rope_fp16, update=update)
    except InputError as error:
        raise WeightsError(f"{error}{REINSTALL if path in EMBEDDED.values() else ''}") from error


def make_random_net(model: str, weights: str, rope_fp16: bool, update: StateUpdate, seed: int | None) -> Cut3r:
    """Make a net of a published model's sizes, or of those in nano's file, with random weights, the same for a seed."""
    sizes = SIZES[model] if model in SIZES else read_checkpoint(find_weights(model, weights)).sizes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return Cut3r(sizes, rope_fp16=rope_fp16, update=update).eval().requires_grad_(False)


def find_weights(model: str, weights: str) -> Path:
    """Find a model's weights: the named file, else the installed one.

    Raises WeightsError for a missing file, ConfigError for a model without weights.
    """
    if model == "cut3r-tiny" and weights in ("", model):
        raise ConfigError(f"reconstruction.cut3r.model=cut3r-tiny has no weights; {RANDOM}, or choose cut3r-512.")
    try:
        return find(weights or model)
    except InputError as error:
        if model == NANO:
            raise
        raise WeightsError(f"{str(error).removesuffix('.')}; or {RANDOM}.") from error


def check_attention(layers: str) -> None:
    """Check the setting before a large net is loaded. Raises ConfigError."""
    if not (layers in ATTENTION or layers.isdecimal()):
        raise ConfigError(
            f"the reconstruction's attention must be {', '.join(ATTENTION)} or a layer's number from 0, got '{layers}'."
        )


def parse_attention(layers: str, depth: int) -> StateAttention | None:
    """Parse `mean`, `last`, a layer's number from 0, or `none`. Raises ConfigError for anything else."""
    known = ATTENTION | {str(number): StateAttention((number,)) for number in range(depth)}
    if layers not in known:
        raise ConfigError(
            f"the reconstruction's attention must be mean, last, none or a layer from 0 to {depth - 1}, got '{layers}'."
        )
    return known[layers]
