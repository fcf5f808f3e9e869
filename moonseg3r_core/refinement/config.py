"""The configuration of the refinement stage: its kinds, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import Kind, section, value

KINDS = {
    "average": Kind("moonseg3r_core.refinement.average:AverageRefinement"),
    "learned": Kind("moonseg3r_core.refinement.learned:build", device=True),
}


@dataclass(frozen=True)
class LearnedConfig:
    weights: str = value(
        "", "file of weights (moonseg3r train queries); empty: those in the package for the reconstruction's kind"
    )


@dataclass(frozen=True)
class RefinementConfig:
    kind: str = value(
        "auto",
        "how masks become queries; average: masked average pooling; learned: by a trained net (paper eq 2-4); auto: learned "
        "with nano and the features its queries were trained on, else average",
        choices=("auto", *KINDS),
    )
    learned: LearnedConfig = section(LearnedConfig)
