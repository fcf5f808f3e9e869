"""A reconstruction walked over frames whose depth and pose are known, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.evaluation.metrics import reconstruction as scores
from moonseg3r_core.evaluation.reconstruction_comparison import Comparison, joined
from moonseg3r_core.stages import Reconstruction
from moonseg3r_core.types import Frame, Geometry

NEAR = 0.05  # metres: a point of the F-score is right within it


@dataclass(frozen=True)
class ReconstructionScores:
    """The scores of one sequence; NaN where nothing could be compared. Metres, degrees, shares of 1.

    `frames`: those with truth; in `held` ones the last pose stood in, `rejected` ones brought nothing. `coverage`: the mean
    share of a frame's pixels of true depth that have a point. `abs_rel` and `delta` (1.25) of its depth times
    `depth_scale`, over those pixels; `constant`: abs-rel of the best constant depth there. `path`: its true length. `ate`,
    `rpe`, `rpe_degrees` after similarity alignment; `still_...`: of a camera that never moves. `accuracy`,
    `completeness`: median and mean distance of the clouds after that alignment; `f_score` within 5 cm. `ms`: median time.
    """

    frames: float
    held: float
    rejected: float
    coverage: float
    depth_scale: float
    abs_rel: float
    constant: float
    delta: float
    path: float
    ate: float
    still_ate: float
    rpe: float
    still_rpe: float
    rpe_degrees: float
    still_rpe_degrees: float
    accuracy: float
    accuracy_mean: float
    completeness: float
    completeness_mean: float
    f_score: float
    ms: float

    @property
    def ate_share(self) -> float:
        """ATE as a share of the path's length."""
        return self.ate / self.path if self.path > 0 else np.nan

    @property
    def rpe_share(self) -> float:
        """RPE as a share of the RMS step: 1 for a camera that never moves."""
        return self.rpe / self.still_rpe if self.still_rpe > 0 else np.nan


def score_sequence(
    reconstruction: Reconstruction, frames: Iterable[Frame], needs: Collection[str] = ()
) -> ReconstructionScores:
    """The scores of a reconstruction, reset before, on the frames of one sequence, which are on its device and bring
    depth, intrinsics and pose. Of these it sees what `needs` names ("depth", "intrinsics", "poses"); by default color
    alone. A frame that lacks one is shown and not scored. Raises InputError where every frame does.
    """
    return scores_of(compare(reconstruction, frames, needs))


def compare(reconstruction: Reconstruction, frames: Iterable[Frame], needs: Collection[str] = ()) -> Comparison:
    """As `score_sequence`, what the scores are taken from."""
    reconstruction.reset()
    comparison = Comparison()
    for frame in frames:
        start = perf_counter()
        geometry = _answer(reconstruction, shown(frame, needs))
        comparison.add(frame, geometry, 1e3 * (perf_counter() - start))
    if not comparison.frames:
        raise InputError("frames must bring depth, intrinsics and a rigid pose to be scored, got none that does.")
    return comparison


def shown(frame: Frame, needs: Collection[str]) -> Frame:
    """The frame with what the reconstruction may see."""
    return replace(
        frame,
        depth=frame.depth if "depth" in needs else None,
        intrinsics=frame.intrinsics if "intrinsics" in needs else None,
        world_from_camera=frame.world_from_camera if "poses" in needs else None,
    )


def scores_of(comparison: Comparison) -> ReconstructionScores:
    """The scores of what was gathered."""
    return ReconstructionScores(
        frames=len(comparison.frames),
        held=comparison.held,
        rejected=len(comparison.frames) - len(comparison.posed),
        coverage=_of(np.mean, np.array(comparison.coverage)),
        **_depth_scores(comparison),
        **_camera_scores(comparison),
        **_cloud_scores(comparison),
        ms=_of(np.median, np.array(comparison.ms)),
    )


def mean_scores(sequences: Sequence[ReconstructionScores]) -> ReconstructionScores:
    """The plain mean of each score over sequences; NaN where one has none."""
    return ReconstructionScores(
        **{name: float(np.mean([vars(of)[name] for of in sequences])) for name in vars(sequences[0])}
    )


def _answer(reconstruction: Reconstruction, frame: Frame) -> Geometry | None:
    """What it says of a frame once that is there; None where it rejects it."""
    try:
        geometry = reconstruction(frame)
    except FrameRejected:
        return None
    if geometry.points.is_cuda:
        torch.cuda.synchronize(geometry.device)
    return geometry


def _depth_scores(comparison: Comparison) -> dict[str, float]:
    predicted, true = joined(comparison.depths)
    return {
        "depth_scale": comparison.scale,
        "abs_rel": scores.abs_rel(predicted, true),
        "constant": scores.abs_rel(np.full_like(true, scores.constant_guess(true)), true),
        "delta": scores.delta(predicted, true),
    }


def _camera_scores(comparison: Comparison) -> dict[str, float]:
    estimated, true = comparison.poses
    still = scores.aligned(true[:1].expand_as(true), true) if len(true) else true
    rpe, degrees = scores.relative_error(estimated, true)
    still_rpe, still_degrees = scores.relative_error(still, true)
    return {
        "path": scores.path_length(true) if len(true) else np.nan,
        "ate": scores.absolute_error(estimated, true),
        "still_ate": scores.absolute_error(still, true),
        "rpe": rpe,
        "still_rpe": still_rpe,
        "rpe_degrees": degrees,
        "still_rpe_degrees": still_degrees,
    }


def _cloud_scores(comparison: Comparison) -> dict[str, float]:
    accuracy, completeness = comparison.distances
    return {
        "accuracy": _of(np.median, accuracy),
        "accuracy_mean": _of(np.mean, accuracy),
        "completeness": _of(np.median, completeness),
        "completeness_mean": _of(np.mean, completeness),
        "f_score": scores.f_score(accuracy, completeness, NEAR),
    }


def _of(statistic: Callable[..., np.floating], values: np.ndarray) -> float:
    return float(statistic(values)) if len(values) else np.nan
