"""Run a recording's frozen models once and reuse their outputs for every refinement, memory and fusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from moonseg3r_core.benchmarks.accuracy import Recording, apply_final_ids, set_masks
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config
from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.runtime.state import Stateless
from moonseg3r_core.segmenter import OnlineSegmenter, Stages
from moonseg3r_core.sources import InputConfig, open_source
from moonseg3r_core.types import FeatureMap, Frame, FrameResult, Geometry, MaskProposals


@dataclass(frozen=True)
class CachedOutputs:
    """The outputs of the frozen models for one frame."""

    frame: Frame
    geometry: Geometry
    proposals: MaskProposals
    features: FeatureMap

    def drop_tokens(self) -> CachedOutputs:
        """Return the outputs without state attention."""
        return replace(self, geometry=replace(self.geometry, state_attention=None))


@dataclass(frozen=True)
class Replay:
    """A recording with its masks and the outputs of a configuration's frozen models for its frames without rejected ones."""

    recording: Recording
    outputs: tuple[CachedOutputs, ...]

    @classmethod
    def from_recording(cls, recording: Recording, config: Config) -> Replay:
        """Run the frozen models of a configuration on a recording."""
        stages = build_segmenter(set_masks(config, recording)).stages
        return cls(recording, tuple(_run_frozen_models(stages, recording, config.input)))

    def run(self, config: Config, tokens: bool = True) -> tuple[OnlineSegmenter, Iterator[FrameResult]]:
        """Build a segmenter of a configuration and iterate over its results; without `tokens` it gets no state attention."""
        segmenter = build_segmenter(set_masks(config, self.recording))
        cache = {outputs.frame.index: outputs if tokens else outputs.drop_tokens() for outputs in self.outputs}
        names = {"reconstruction": "geometry", "masks": "proposals", "features": "features"}
        stages: dict[str, Any] = {stage: _ReplayedStage(cache, name) for stage, name in names.items()}
        segmenter.replace_stages(**stages)
        return segmenter, (segmenter.step(outputs.frame) for outputs in self.outputs)

    def predict_id_maps(self, config: Config, tokens: bool = True) -> list[np.ndarray]:
        """Predict the final id maps, one per view of the recording; 0 in a frame that was rejected."""
        segmenter, results = self.run(config, tokens)
        maps = {result.index: result.instance_ids.cpu().numpy() for result in results}
        return apply_final_ids(maps, segmenter.final_ids, self.recording)


class _ReplayedStage(Stateless):
    """A stage that returns one of the cached outputs of a frame."""

    def __init__(self, cache: Mapping[int, CachedOutputs], name: str) -> None:
        self._cache, self._name = cache, name

    def __call__(self, frame: Frame, *_: Any) -> Any:
        return getattr(self._cache[frame.index], self._name)


@torch.no_grad()
def _run_frozen_models(stages: Stages, recording: Recording, input: InputConfig) -> Iterator[CachedOutputs]:
    for frame in open_source(str(recording.path), input=input):
        with suppress(FrameRejected):
            geometry = stages.reconstruction(frame)
            proposals = stages.masks(frame, geometry)
            yield CachedOutputs(frame, geometry, proposals, stages.features(frame, geometry))
