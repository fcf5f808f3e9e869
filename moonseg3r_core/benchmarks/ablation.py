"""The ablation of the paper's Table 2 on recordings with ground truth, with queries trained for several seeds."""

from __future__ import annotations

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
from moonseg3r_core.config import Config
from moonseg3r_core.evaluation.metrics.average_precision import SceneMatches, Scores, average_scenes
from moonseg3r_core.report.charts import encode_png
from moonseg3r_core.settings import overlay
from moonseg3r_core.training.queries.recipe import QueryRecipe
from moonseg3r_core.training.queries.scenes import ROOMS
from moonseg3r_core.training.queries.train import train_queries


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    recipe: changes of the recipe of its training, None for no training; settings: of its segmenter; tokens: whether the
    match has state tokens.
    """

    name: str
    recipe: Mapping[str, Any] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: bool = False


VARIANTS = (
    Variant("F2d + F3d", None, {"refinement.kind": "average", "memory.kind": "none"}),
    Variant("+ query refinement", {"dist": 0.0, "xseg": 0.0}, {"memory.kind": "none"}),
    Variant("+ SSD", {"xseg": 0.0}, {"memory.kind": "none"}),
    Variant("+ QIM", {}),
    Variant("+ SDT", {}, tokens=True),
)
Train = Callable[[QueryRecipe, str], Path]


@dataclass(frozen=True)
class Ablation:
    """The scores of one stack of models by row and group of recordings, one for each seed, or one without training."""

    stack: str
    scores: Mapping[tuple[str, str], Sequence[Scores]]

    def make_table(self) -> Table:
        """Make a table of AP, AP50 and AP25 in percent: the mean of the seeds and the standard deviation of several."""
        groups = list(dict.fromkeys(group for _, group in self.scores))
        rows: list[Row] = []
        for name in dict.fromkeys(row for row, _ in self.scores):
            row: Row = {self.stack: name}
            for group in groups:
                seeds = self.scores[name, group]
                for label in ("AP", "AP50", "AP25"):
                    row[f"{group} {label}"] = _format_spread([getattr(score, label.lower()) for score in seeds])
            rows.append(row)
        return Table(f"ablation, {self.stack}: class-agnostic AP in percent, protocol project, equal scores", rows)


def measure_ablation(
    recordings: Sequence[str | Path], recipe: QueryRecipe, seeds: int, train: Train,
    settings: Mapping[str, Any] | None = None, quiet: bool = False,
) -> Ablation:  # fmt: skip
    """Score every row on recordings, or folders of them, with given masks and the paper's fusion, changed by `settings`.

    `train` returns the weights of a recipe, by a name that is unique for the recipe and seed.
    """
    # The preset's fusion alone: the memory (cells, distances, limits) is the recipe's, with which queries are trained.
    config = overlay(recipe.config, {**read_paper_preset("fusion."), **(settings or {})})
    stack = config.reconstruction.kind
    variants = [variant for variant in VARIANTS if config.reconstruction.has_tokens or not variant.tokens]
    trained = {variant.name: _train(variant, recipe, seeds, train) for variant in variants}
    matches: dict[tuple[str, str], list[list[SceneMatches]]] = {}
    for group, folders in {Path(path).resolve().name: find_recordings(Path(path)) for path in recordings}.items():
        for folder in tqdm(folders, desc=f"{stack}, {group}", unit="recording", disable=quiet):
            replay = Replay.from_recording(open_recording(folder, "given", Path(), config), config)
            for variant in variants:
                changed = (_apply_variant(config, variant, weights) for weights in trained[variant.name])
                id_maps = (replay.predict_id_maps(each, variant.tokens) for each in changed)
                matches.setdefault((variant.name, group), []).append([replay.recording.score(maps) for maps in id_maps])
    means = {key: [average_scenes(seed) for seed in zip(*scenes, strict=True)] for key, scenes in matches.items()}
    return Ablation(stack, means)


def make_trainer(folder: Path) -> Train:
    """Make a function that trains on procedural rooms in a folder a run and reuses finished runs."""

    def train(recipe: QueryRecipe, name: str) -> Path:
        return train_queries(recipe, [ROOMS], folder / name, cache=folder / "clips")

    return train


def plot_ablation(ablations: Sequence[Ablation]) -> bytes:
    """Plot AP of the rows with the spread of the seeds as PNG, a panel for each stack and group."""
    panels = [(each, group) for each in ablations for group in dict.fromkeys(group for _, group in each.scores)]
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    for axis, (each, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        rows = {name: [100 * s.ap for s in seeds] for (name, of), seeds in each.scores.items() if of == group}
        means, spreads = ([statistic(v) for v in rows.values()] for statistic in (np.mean, np.std))
        axis.barh(list(rows), means, color="#b9c7da", xerr=spreads)
        for place, values in enumerate(rows.values()):
            axis.plot(values, [place] * len(values), "o", color="#2b2f36", markersize=3)
        axis.invert_yaxis()
        axis.set(title=f"{each.stack}, {group}", xlabel="AP, percent", xlim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    return encode_png(figure, dpi=120)


def _train(variant: Variant, recipe: QueryRecipe, seeds: int, train: Train) -> list[Path | None]:
    """Train the weights of a row, one for each seed; one None without training."""
    if variant.recipe is None:
        return [None]
    stack, changed = recipe.config.reconstruction.kind, replace(recipe, **variant.recipe)
    losses = "_".join(f"{name}{getattr(changed, name):g}" for name in ("seg", "dist", "xseg"))
    return [train(replace(changed, seed=seed), f"{stack}_{losses}_{seed}") for seed in range(seeds)]


def _apply_variant(config: Config, variant: Variant, weights: Path | None) -> Config:
    own = {"refinement.kind": "learned", "refinement.learned.weights": str(weights)} if weights else {}
    return overlay(config, {**own, **variant.settings})


def _format_spread(values: Sequence[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"
