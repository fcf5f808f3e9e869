"""Run a reconstruction on frames with true depth and pose, and score it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.evaluation.metrics import reconstruction as scores
from moonseg3r_core.evaluation.reconstruction_comparison import Comparison, join_pairs
from moonseg3r_core.stages import Reconstruction
from moonseg3r_core.types import Frame, Geometry

NEAR = 0.05  # metres, the threshold of the F-score


@dataclass(frozen=True)
class ReconstructionScores:
    """The scores of one sequence; NaN where nothing could be compared. Metres, degrees, shares of 1.

    frames: frames with truth; held: those that repeat the last pose; rejected: those without geometry.
    coverage: the mean share of the pixels with true depth that have a point. abs_rel, delta (1.25): of the depth times
    depth_scale at those pixels; median_error: of the same errors; constant: abs_rel of the best constant depth there.
    path: the true length; ate, rpe, rpe_degrees: after similarity alignment; still_...: of a camera that never moves.
    tracked_ate: of the frames that are not held alone; closed_ate: of these where their key views have moved them at the end.
    pairs: view pairs (see `view_pairs`); pair_degrees, pair_shift: medians of how far their motions are off, degrees and
    shares of the baseline; disagreement: median |log ratio| of both depths of the same surface.
    accuracy, completeness: medians and means of the clouds' distances after that alignment; f_score: within 5 cm.
    ms, ms_mean: median and mean time.
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
    median_error: float
    tracked_ate: float
    closed_ate: float
    pairs: float
    pair_degrees: float
    pair_shift: float
    disagreement: float
    ms_mean: float

    @property
    def lost(self) -> float:
        """The share of the frames without a place of their own."""
        return (self.held + self.rejected) / self.frames

    @property
    def tracked_ate_share(self) -> float:
        """ATE of the frames that are not held as a share of the path's length."""
        return self.tracked_ate / self.path if self.path > 0 else np.nan

    @property
    def closed_ate_share(self) -> float:
        """The same of corrected poses."""
        return self.closed_ate / self.path if self.path > 0 else np.nan

    @property
    def ate_share(self) -> float:
        """ATE as a share of the path's length."""
        return self.ate / self.path if self.path > 0 else np.nan

    @property
    def rpe_share(self) -> float:
        """RPE as a share of the RMS step: 1 for a camera that never moves."""
        return self.rpe / self.still_rpe if self.still_rpe > 0 else np.nan


def compare(reconstruction: Reconstruction, frames: Iterable[Frame], inputs: Collection[str] = ()) -> Comparison:
    """Reset a reconstruction, run it on the frames of one sequence on its device, and compare it with the truth.

    It gets color and what `inputs` names of "depth", "intrinsics" and "poses". A frame that lacks one of the three is
    run and not compared. Raises InputError where no frame has all of them.
    """
    reconstruction.reset()
    comparison = Comparison()
    for frame in frames:
        start = perf_counter()
        geometry = _reconstruct(reconstruction, select_inputs(frame, inputs))
        comparison.add(frame, geometry, 1e3 * (perf_counter() - start))
    if not comparison.frames:
        raise InputError("frames must bring depth, intrinsics and a rigid pose to be scored, got none that does.")
    return comparison


def select_inputs(frame: Frame, inputs: Collection[str]) -> Frame:
    """Return the frame with color and the named inputs alone."""
    fields = {"depth": "depth", "intrinsics": "intrinsics", "poses": "world_from_camera"}
    hidden: dict[str, Any] = {field: None for name, field in fields.items() if name not in inputs}
    return replace(frame, **hidden)


def compute_scores(comparison: Comparison) -> ReconstructionScores:
    """Compute the scores of a comparison."""
    return ReconstructionScores(
        frames=len(comparison.frames),
        held=len(comparison.tracked) - sum(comparison.tracked),
        rejected=len(comparison.frames) - len(comparison.posed),
        coverage=_apply_or_nan(np.mean, np.array(comparison.coverage)),
        **_compute_depth_scores(comparison),
        **_compute_camera_scores(comparison),
        **_compute_cloud_scores(comparison),
        **_compute_pair_scores(comparison),
        ms=_apply_or_nan(np.median, np.array(comparison.ms)),
        ms_mean=_apply_or_nan(np.mean, np.array(comparison.ms)),
    )


def average_scores(sequences: Sequence[ReconstructionScores]) -> ReconstructionScores:
    """Average each score over sequences; NaN where one has none."""
    means = {name: float(np.mean([vars(scores)[name] for scores in sequences])) for name in vars(sequences[0])}
    return ReconstructionScores(**means)


def _reconstruct(reconstruction: Reconstruction, frame: Frame) -> Geometry | None:
    """Run the reconstruction on a frame and wait for its device; None where it rejects the frame."""
    try:
        geometry = reconstruction(frame)
    except FrameRejected:
        return None
    if geometry.points.is_cuda:
        torch.cuda.synchronize(geometry.device)
    return geometry


def _compute_depth_scores(comparison: Comparison) -> dict[str, float]:
    predicted, true = join_pairs(comparison.depths)
    return {
        "depth_scale": comparison.scale,
        "abs_rel": scores.compute_abs_rel(predicted, true),
        "median_error": scores.compute_median_error(predicted, true),
        "constant": scores.compute_abs_rel(np.full_like(true, scores.fit_constant_depth(true)), true),
        "delta": scores.compute_delta(predicted, true),
    }


def _compute_camera_scores(comparison: Comparison) -> dict[str, float]:
    estimated, true = comparison.poses
    still = scores.align_poses(true[:1].expand_as(true), true) if len(true) else true
    given, corrected, tracked = comparison.tracked_poses
    rpe, degrees = scores.compute_rpe(estimated, true)
    still_rpe, still_degrees = scores.compute_rpe(still, true)
    return {
        "path": scores.compute_path_length(true) if len(true) else np.nan,
        "ate": scores.compute_ate(estimated, true), "still_ate": scores.compute_ate(still, true),
        "tracked_ate": scores.compute_ate(given, tracked), "closed_ate": scores.compute_ate(corrected, tracked),
        "rpe": rpe, "still_rpe": still_rpe, "rpe_degrees": degrees, "still_rpe_degrees": still_degrees,
    }  # fmt: skip


def _compute_pair_scores(comparison: Comparison) -> dict[str, float]:
    degrees, shifts = comparison.pairs.compute_pose_errors()
    return {
        "pairs": len(comparison.pairs.pairs),
        "pair_degrees": scores.compute_median(degrees),
        "pair_shift": scores.compute_median(shifts),
        "disagreement": scores.compute_median(comparison.pairs.compute_disagreements(comparison.scale)),
    }


def _compute_cloud_scores(comparison: Comparison) -> dict[str, float]:
    accuracy, completeness = comparison.distances
    found = {"f_score": scores.compute_f_score(accuracy, completeness, NEAR)}
    for name, distances in (("accuracy", accuracy), ("completeness", completeness)):
        found |= {name: _apply_or_nan(np.median, distances), f"{name}_mean": _apply_or_nan(np.mean, distances)}
    return found


def _apply_or_nan(statistic: Callable[..., np.floating], values: np.ndarray) -> float:
    return float(statistic(values)) if len(values) else np.nan
