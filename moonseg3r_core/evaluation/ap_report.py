"""Average precision of scenes, with and without structure, with equal and with ranked scores, as one report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moonseg3r_core.evaluation.ground_truth import GroundTruth
from moonseg3r_core.evaluation.metrics.average_precision import Scores, average_precision, average_scenes, match_scene

_WIDTH = 8


@dataclass(frozen=True)
class Scene:
    """A scene with predicted labels (N,) int32 of its points, 0 = none; the scores of the ids; frames used and skipped."""

    name: str
    truth: GroundTruth
    labels: np.ndarray
    scores: Mapping[int, float]
    frames: int
    skipped: int = 0

    @property
    def labelled_share(self) -> float:
        """The share of the ground-truth points that have a predicted id."""
        return float(np.mean(self.labels > 0))


@dataclass(frozen=True)
class Row:
    """One way to score: with or without structure, with ranked scores or all equal to 1.

    pooled: the scores over all scenes; mean: the mean of the scenes' scores; scenes: those of each scene.
    """

    structure: bool
    ranked: bool
    pooled: Scores
    mean: Scores
    scenes: tuple[Scores, ...]

    @property
    def name(self) -> str:
        return f"{'with' if self.structure else 'without'} structure, {'ranked' if self.ranked else 'equal'} scores"


@dataclass(frozen=True)
class Report:
    """The scores of an evaluation. It has rows without structure where some ground truth has structure_ids."""

    protocol: str
    scenes: tuple[Scene, ...]
    rows: tuple[Row, ...]

    def get_row(self, *, structure: bool = True, ranked: bool = False) -> Row:
        """Return the row of one way to score. Raises KeyError when there is none."""
        for row in self.rows:
            if (row.structure, row.ranked) == (structure, ranked):
                return row
        raise KeyError("no such row: the ground truth names no structure_ids")

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; NaN becomes None."""
        scenes = [
            {"name": s.name, "frames": s.frames, "skipped": s.skipped, "labelled_share": s.labelled_share}
            for s in self.scenes
        ]
        rows = [
            {
                "structure": row.structure, "scores": "ranked" if row.ranked else "equal",
                "pooled": _convert_scores(row.pooled), "mean_of_scenes": _convert_scores(row.mean),
                "scenes": [_convert_scores(scores) for scores in row.scenes],
            }
            for row in self.rows
        ]  # fmt: skip
        return {"protocol": self.protocol, "scenes": scenes, "rows": rows}

    def __str__(self) -> str:
        """Format the table that `moonseg3r evaluate` prints."""
        counts = [
            f"{s.name}: {s.frames} frames" + (f" ({s.skipped} without depth or pose)" if s.skipped else "")
            + f", {100 * s.labelled_share:.0f} % of the points labelled"
            for s in self.scenes
        ]  # fmt: skip
        lines = [f"protocol {self.protocol}", *counts]
        for row in self.rows:
            lines += ["", f"{row.name:<36}" + "".join(f"{word:>{_WIDTH}}" for word in ("AP", "AP50", "AP25"))]
            each = [(scene.name, scores) for scene, scores in zip(self.scenes, row.scenes, strict=True)]
            sums = [("all scenes pooled", row.pooled), ("mean of scenes", row.mean)] if len(each) > 1 else []
            lines += [f"  {name:<34}" + _format_cells(scores) for name, scores in each + sums]
        return "\n".join(lines)


def score_scenes(protocol: str, scenes: Sequence[Scene]) -> Report:
    """Score scenes in every way that their ground truth allows."""
    with_structure = (True, False) if any(len(scene.truth.structure_ids) for scene in scenes) else (True,)
    rows = [_score_row(scenes, structure, ranked) for structure in with_structure for ranked in (False, True)]
    return Report(protocol, tuple(scenes), tuple(rows))


def _score_row(scenes: Sequence[Scene], structure: bool, ranked: bool) -> Row:
    ids = [scene.truth.instance_ids if structure else scene.truth.remove_structure() for scene in scenes]
    matches = [match_scene(i, s.labels, s.scores if ranked else None) for i, s in zip(ids, scenes, strict=True)]
    each = tuple(average_precision([match]) for match in matches)
    return Row(structure, ranked, average_precision(matches), average_scenes(matches), each)


def _format_cells(scores: Scores) -> str:
    words = ["n/a" if math.isnan(value) else f"{value:.3f}" for value in (scores.ap, scores.ap50, scores.ap25)]
    return "".join(f"{word:>{_WIDTH}}" for word in words)


def _convert_scores(scores: Scores) -> dict[str, Any]:
    values = {"ap": scores.ap, "ap50": scores.ap50, "ap25": scores.ap25}
    return {name: None if math.isnan(value) else value for name, value in values.items()}
