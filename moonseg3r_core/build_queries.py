"""The learned refinement's room with its net: weights found and loaded."""

from __future__ import annotations

from dataclasses import replace

import torch

from moonseg3r_core.config import Config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.refinement.learned import LearnedRefinement, read_query_net
from moonseg3r_core.weights import find

EMBEDDED_FOR = {"rgbd": "rgbd_queries", "nano": "nano_queries"}  # by reconstruction.kind


def make_learned(weights: str, device: torch.device) -> LearnedRefinement:
    """The room as `refinement.learned` describes it. Raises WeightsError for weights that are not there or not whole."""
    return LearnedRefinement(read_query_net(find(weights)).to(device))


def settle_refinement(config: Config) -> Config:
    """The configuration with refinement.kind=auto made average or learned: learned where that is measured to be better
    (docs/benchmarks.md) and the features are those that the weights in the package were trained on.
    """
    if config.refinement.kind != "auto":
        return config
    fit = config.features.kind == "handcrafted" and config.reconstruction.nano.geometric == "positions"
    learned = (config.reconstruction.kind == "nano" and fit) or bool(config.refinement.learned.weights)
    return replace(config, refinement=replace(config.refinement, kind="learned" if learned else "average"))


def query_weights(config: Config) -> str:
    """The weights of queries that a configuration asks for: a file, or those in the package that were trained on the
    same models. Raises ConfigError where there are none such.
    """
    kind = config.reconstruction.kind
    weights = config.refinement.learned.weights or EMBEDDED_FOR.get(kind, "")
    if not weights:
        raise ConfigError(
            f"refinement.kind=learned expects weights trained on reconstruction.kind={kind}, and none come with the package; "
            "train them (moonseg3r train queries) and set refinement.learned.weights, or set refinement.kind=average."
        )
    return weights
