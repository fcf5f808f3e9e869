"""Scores of carried predictions: with and without structure, with equal and with ranked scores, never mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moonseg3r_core.evaluation.ground_truth import GroundTruth
from moonseg3r_core.evaluation.metrics.average_precision import Scores, average_precision, match_scene, mean_of_scenes

_WIDTH = 8


@dataclass(frozen=True)
class Scene:
    """A prediction on the points of a scene: labels (N,) int32, 0 = none; scores of its ids; how many frames carried
    it there, and how many could not.
    """

    name: str
    truth: GroundTruth
    labels: np.ndarray
    scores: Mapping[int, float]
    frames: int
    skipped: int = 0


@dataclass(frozen=True)
class Row:
    """One way to score: `structure` included or not, `ranked` scores or all equal to 1; `pooled` over the scenes, the
    `mean` of the scenes, and each `scenes` by itself.
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
    """What an evaluation found. Rows without structure are there when some ground truth names its structure."""

    protocol: str
    scenes: tuple[Scene, ...]
    rows: tuple[Row, ...]

    def row(self, *, structure: bool = True, ranked: bool = False) -> Row:
        """The row of one way to score. Raises KeyError when there is none."""
        for row in self.rows:
            if (row.structure, row.ranked) == (structure, ranked):
                return row
        raise KeyError("no such row: the ground truth names no structure_ids")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        scenes = [
            {"name": s.name, "frames": s.frames, "skipped": s.skipped, "labelled_share": _share(s)} for s in self.scenes
        ]
        rows = [
            {
                "structure": row.structure,
                "scores": "ranked" if row.ranked else "equal",
                "pooled": _plain(row.pooled),
                "mean_of_scenes": _plain(row.mean),
                "scenes": [_plain(scores) for scores in row.scenes],
            }
            for row in self.rows
        ]
        return {"protocol": self.protocol, "scenes": scenes, "rows": rows}

    def __str__(self) -> str:
        """The table that the command prints."""
        facts = [
            f"{s.name}: {s.frames} frames" + (f" ({s.skipped} without depth or pose)" if s.skipped else "")
            + f", {100 * _share(s):.0f} % of the points labelled"
            for s in self.scenes
        ]  # fmt: skip
        lines = [f"protocol {self.protocol}", *facts]
        for row in self.rows:
            lines += ["", f"{row.name:<36}" + "".join(f"{word:>{_WIDTH}}" for word in ("AP", "AP50", "AP25"))]
            lines += [f"  {name:<34}" + _cells(scores) for name, scores in _parts(row, self.scenes)]
        return "\n".join(lines)


def report(protocol: str, scenes: Sequence[Scene]) -> Report:
    """Score scenes in every way that their ground truth allows."""
    with_structure = (True, False) if any(len(scene.truth.structure_ids) for scene in scenes) else (True,)
    rows = [_row(scenes, structure, ranked) for structure in with_structure for ranked in (False, True)]
    return Report(protocol, tuple(scenes), tuple(rows))


def _row(scenes: Sequence[Scene], structure: bool, ranked: bool) -> Row:
    matches = [
        match_scene(
            scene.truth.instance_ids if structure else scene.truth.without_structure(),
            scene.labels,
            scene.scores if ranked else None,
        )
        for scene in scenes
    ]
    each = tuple(average_precision([match]) for match in matches)
    return Row(structure, ranked, average_precision(matches), mean_of_scenes(matches), each)


def _parts(row: Row, scenes: Sequence[Scene]) -> list[tuple[str, Scores]]:
    """The lines of a row: its scenes, then their pool and mean when there are several."""
    each = [(scene.name, scores) for scene, scores in zip(scenes, row.scenes, strict=True)]
    return each if len(each) == 1 else [*each, ("all scenes pooled", row.pooled), ("mean of scenes", row.mean)]


def _share(scene: Scene) -> float:
    """The share of the ground-truth points that have a predicted id."""
    return float(np.mean(scene.labels > 0))


def _cells(scores: Scores) -> str:
    words = ["n/a" if math.isnan(value) else f"{value:.3f}" for value in (scores.ap, scores.ap50, scores.ap25)]
    return "".join(f"{word:>{_WIDTH}}" for word in words)


def _plain(scores: Scores) -> dict[str, Any]:
    values = {"ap": scores.ap, "ap50": scores.ap50, "ap25": scores.ap25}
    return {name: None if math.isnan(value) else value for name, value in values.items()}
