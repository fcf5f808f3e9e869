"""A recording's frozen models run once; then every refinement, memory and fusion sees the same of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from moonseg3r_core.benchmarks.accuracy import Recording, finally_named
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config, overlay
from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.runtime.state import Stateless
from moonseg3r_core.segmenter import OnlineSegmenter
from moonseg3r_core.sources import open_source
from moonseg3r_core.types import FeatureMap, Frame, FrameResult, Geometry, MaskProposals


@dataclass(frozen=True)
class Said:
    """What the frozen models said of one frame."""

    frame: Frame
    geometry: Geometry
    proposals: MaskProposals
    features: FeatureMap


@dataclass(frozen=True)
class Replay:
    """The frames of a recording with its masks, as the models of a configuration see them; rejected ones are left out."""

    recording: Recording
    said: tuple[Said, ...]

    @classmethod
    def of(cls, recording: Recording, config: Config) -> Replay:
        rooms = build_segmenter(_with_masks(config, recording)).stages
        return cls(recording, tuple(_said(rooms, recording)))

    def results(self, config: Config, tokens: bool = True) -> tuple[OnlineSegmenter, Iterator[FrameResult]]:
        """A segmenter of a configuration, and its results as it takes the frames; without `tokens`, as of a
        reconstruction that has no state attention.
        """
        segmenter = build_segmenter(_with_masks(config, self.recording))
        walked = list(self.said) if tokens else [_without_tokens(said) for said in self.said]
        turn = {said.frame.index: said for said in walked}
        segmenter.replace_stages(reconstruction=_Spoken(turn, "geometry"), masks=_Spoken(turn, "proposals"), features=_Spoken(turn, "features"))  # fmt: skip
        return segmenter, (segmenter.step(said.frame) for said in walked)

    def id_maps(self, config: Config, tokens: bool = True) -> list[np.ndarray]:
        """The final id maps, one per view of the recording; 0 in a frame that was rejected."""
        segmenter, results = self.results(config, tokens)
        maps = {result.index: result.instance_ids.cpu().numpy() for result in results}
        return finally_named(maps, segmenter.final_ids, self.recording)


class _Spoken(Stateless):
    """A tenant that says again what was said of a frame."""

    def __init__(self, turn: Mapping[int, Said], what: str) -> None:
        self._turn, self._what = turn, what

    def __call__(self, frame: Frame, *_: Any) -> Any:
        return getattr(self._turn[frame.index], self._what)


def _with_masks(config: Config, recording: Recording) -> Config:
    return overlay(config, {"masks.kind": "precomputed", "masks.precomputed.folder": str(recording.masks)})


@torch.no_grad()
def _said(rooms: Any, recording: Recording) -> Iterator[Said]:
    for frame in open_source(str(recording.path)):
        with suppress(FrameRejected):
            geometry = rooms.reconstruction(frame)
            proposals = rooms.masks(frame, geometry)
            yield Said(frame, geometry, proposals, rooms.features(frame, geometry))


def _without_tokens(said: Said) -> Said:
    return replace(said, geometry=replace(said.geometry, state_attention=None))
