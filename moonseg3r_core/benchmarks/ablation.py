"""The paper's Table 2 on recordings with ground truth: what each part of the method adds, trained anew for several seeds."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from moonseg3r_core.benchmarks.accuracy import find_recordings, open_recording
from moonseg3r_core.benchmarks.preset import read_paper_preset
from moonseg3r_core.benchmarks.replay import Replay
from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.config import Config, overlay
from moonseg3r_core.evaluation.metrics.average_precision import SceneMatches, Scores, average_scenes
from moonseg3r_core.training.queries.recipe import QueryRecipe
from moonseg3r_core.training.queries.scenes import ROOMS
from moonseg3r_core.training.queries.train import train_queries


@dataclass(frozen=True)
class Part:
    """A row of the table: what it changes in the recipe that its queries are trained by, None where nothing is trained;
    its settings; whether state tokens take part in the match.
    """

    name: str
    recipe: Mapping[str, Any] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: bool = False


PARTS = (
    Part("F2d + F3d", None, {"refinement.kind": "average", "memory.kind": "none"}),
    Part("+ query refinement", {"dist": 0.0, "xseg": 0.0}, {"memory.kind": "none"}),
    Part("+ SSD", {"xseg": 0.0}, {"memory.kind": "none"}),
    Part("+ QIM", {}),
    Part("+ SDT", {}, tokens=True),
)
Train = Callable[[QueryRecipe, str], Path]


@dataclass(frozen=True)
class Ablation:
    """Scores of one stack of models: by row and group of recordings, one for each seed (one alone for what is not
    trained).
    """

    stack: str
    scores: Mapping[tuple[str, str], Sequence[Scores]]

    def table(self) -> Table:
        """AP, AP50 and AP25 in percent, the mean of the seeds and, where there are several, their standard deviation."""
        groups = list(dict.fromkeys(group for _, group in self.scores))
        rows: list[Row] = []
        for name in dict.fromkeys(row for row, _ in self.scores):
            row: Row = {self.stack: name}
            for group in groups:
                seeds = self.scores[name, group]
                for label in ("AP", "AP50", "AP25"):
                    row[f"{group} {label}"] = _with_spread([getattr(score, label.lower()) for score in seeds])
            rows.append(row)
        return Table(f"ablation, {self.stack}: class-agnostic AP in percent, protocol project, equal scores", rows)


def ablation(
    recordings: Sequence[str | Path], recipe: QueryRecipe, seeds: int, train: Train,
    settings: Mapping[str, Any] | None = None, quiet: bool = False,
) -> Ablation:  # fmt: skip
    """Every row's scores with the given masks and the paper's fusion (changed by `settings`) on recordings and folders of
    such. `train` gives the weights of a recipe, under a name that is the same for the same recipe and seed.
    """
    # Only the preset's fusion: its memory (cells, distances, limits) is the one that the queries were trained with.
    config = overlay(recipe.config, {**read_paper_preset("fusion."), **(settings or {})})
    stack = config.reconstruction.kind
    parts = [part for part in PARTS if config.reconstruction.net or not part.tokens]
    trained = {part.name: _train(part, recipe, seeds, train) for part in parts}
    matches: dict[tuple[str, str], list[list[SceneMatches]]] = {}
    for group, folders in {Path(path).resolve().name: find_recordings(Path(path)) for path in recordings}.items():
        for folder in tqdm(folders, desc=f"{stack}, {group}", unit="recording", disable=quiet):
            replay = Replay.of(open_recording(folder, "given", Path(), config), config)
            for part in parts:
                scored = [
                    replay.recording.score(replay.id_maps(_configured(config, part, weights), part.tokens))
                    for weights in trained[part.name]
                ]
                matches.setdefault((part.name, group), []).append(scored)
    means = {key: [average_scenes(seed) for seed in zip(*scenes, strict=True)] for key, scenes in matches.items()}
    return Ablation(stack, means)


def trained_in(folder: Path) -> Train:
    """Trains on procedural rooms, each run in a folder of its own; what was trained there before is taken as it is."""

    def train(recipe: QueryRecipe, name: str) -> Path:
        return train_queries(recipe, [ROOMS], folder / name, cache=folder / "clips")

    return train


def ablation_plot(ablations: Sequence[Ablation]) -> bytes:
    """PNG: a panel for each stack and group, AP of its rows with the spread of the seeds."""
    panels = [(each, group) for each in ablations for group in dict.fromkeys(group for _, group in each.scores)]
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    for axis, (each, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        rows = {name: [100 * s.ap for s in seeds] for (name, of), seeds in each.scores.items() if of == group}
        axis.barh(
            list(rows), [np.mean(v) for v in rows.values()], color="#b9c7da", xerr=[np.std(v) for v in rows.values()]
        )
        for place, values in enumerate(rows.values()):
            axis.plot(values, [place] * len(values), "o", color="#2b2f36", markersize=3)
        axis.invert_yaxis()
        axis.set(title=f"{each.stack}, {group}", xlabel="AP, percent", xlim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _train(part: Part, recipe: QueryRecipe, seeds: int, train: Train) -> list[Path | None]:
    """The weights of a row, one for each seed; one None for what is not trained."""
    if part.recipe is None:
        return [None]
    stack, changed = recipe.config.reconstruction.kind, replace(recipe, **part.recipe)
    losses = "_".join(f"{name}{getattr(changed, name):g}" for name in ("seg", "dist", "xseg"))
    return [train(replace(changed, seed=seed), f"{stack}_{losses}_{seed}") for seed in range(seeds)]


def _configured(config: Config, part: Part, weights: Path | None) -> Config:
    own = {"refinement.kind": "learned", "refinement.learned.weights": str(weights)} if weights else {}
    return overlay(config, {**own, **part.settings})


def _with_spread(values: Sequence[float]) -> str:
    shown = f"{100 * np.mean(values):.1f}"
    return shown if len(values) == 1 else f"{shown} ± {100 * np.std(values, ddof=1):.1f}"
