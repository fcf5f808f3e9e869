"""The learned refinement's room with its net: weights found and loaded."""

from __future__ import annotations

import torch

from moonseg3r_core.config import Config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.refinement.learned import LearnedRefinement, read_query_net
from moonseg3r_core.weights import find

EMBEDDED_FOR = {"rgbd": "rgbd_queries", "nano": "nano_queries"}  # by reconstruction.kind


def make_learned(weights: str, device: torch.device) -> LearnedRefinement:
    """The room as `refinement.learned` describes it. Raises InputError for weights that are not there or not whole."""
    return LearnedRefinement(read_query_net(find(weights)).to(device))


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
