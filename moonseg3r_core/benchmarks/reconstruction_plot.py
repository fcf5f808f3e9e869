"""Plot a reconstruction and the truth: the path from above, depth errors over the frames, the clouds' distances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moonseg3r_core.evaluation.metrics.reconstruction import compute_abs_rel, fit_constant_depth
from moonseg3r_core.evaluation.reconstruction_comparison import Comparison, join_pairs
from moonseg3r_core.evaluation.reconstruction_scores import NEAR
from moonseg3r_core.report.charts import encode_png
from moonseg3r_core.report.topdown import compute_page_axes

_TRUE, _ESTIMATED, _FAINT = "#2b2f36", "#ee6677", "#8a919c"
_REACH = 0.5  # metres of the distances' axis
_POINTS = 20000


def plot_comparison(compared: Mapping[str, Comparison]) -> bytes:
    """Plot a row of three panels for each sequence as PNG."""
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(13, 3.9 * len(compared)), layout="constrained")
        panels = figure.subplots(len(compared), 3, squeeze=False)
        for (above, depth, cloud), (name, comparison) in zip(panels, compared.items(), strict=True):
            _plot_paths(above, comparison)
            above.set_title(Path(name).name, loc="left", fontweight="bold", pad=20)
            _plot_depth_errors(depth, comparison)
            _plot_distances(cloud, comparison)
        return encode_png(figure, dpi=120)


def _plot_paths(axis: Axes, comparison: Comparison) -> None:
    """Plot both paths over the true cloud, in metres."""
    estimated, true = (poses.numpy() for poses in comparison.poses)
    if len(true):
        cloud = comparison.true_cloud
        right, ahead, up = compute_page_axes(cloud, true)
        low = cloud[cloud @ up < (true[:, :3, 3] @ up).max()]  # without the ceiling
        low = low[:: len(low) // _POINTS + 1]
        axis.plot(low @ right, low @ ahead, ".", color="#d5d8dd", markersize=0.6, rasterized=True)
        for poses, color, label in ((true, _TRUE, "true"), (estimated, _ESTIMATED, "estimated, aligned")):
            path = poses[:, :3, 3]
            axis.plot(path @ right, path @ ahead, color=color, linewidth=1.4, label=label)
            axis.plot(path[0] @ right, path[0] @ ahead, "o", color=color, markersize=4)
        axis.legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    axis.set(xlabel="metres", ylabel="metres", aspect="equal")
    axis.set_adjustable("datalim")


def _plot_depth_errors(axis: Axes, comparison: Comparison) -> None:
    """Plot the abs-rel of every frame after scaling, and that of the best constant depth."""
    guess = fit_constant_depth(join_pairs(comparison.depths)[1])
    constant = [compute_abs_rel(np.full_like(true, guess), true) for _, true in comparison.depths]
    errors = [compute_abs_rel(predicted, true) for predicted, true in comparison.depths]
    axis.plot(comparison.posed, constant, color=_FAINT, linewidth=1.0, label="best constant depth")
    axis.plot(comparison.posed, errors, color=_ESTIMATED, linewidth=1.4, label="estimated")
    axis.set(xlabel="frame", ylabel="abs-rel", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)


def _plot_distances(axis: Axes, comparison: Comparison) -> None:
    """Plot the cumulative shares of the points' distances to the other cloud."""
    accuracy, completeness = comparison.distances
    for distances, color, label in (
        (accuracy, _ESTIMATED, "accuracy: estimated to true"),
        (completeness, _TRUE, "completeness: true to estimated"),
    ):
        if len(distances):
            ordered = np.sort(distances)
            shares = np.searchsorted(ordered, np.linspace(0, _REACH, 201), side="right") / len(ordered)
            axis.plot(np.linspace(0, _REACH, 201), shares, color=color, linewidth=1.4, label=label)
    axis.axvline(NEAR, color=_FAINT, linewidth=0.8, linestyle=":")
    axis.set(xlabel="distance, metres", ylabel="share of points within", xlim=(0, _REACH), ylim=(0, 1.02))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8, loc="lower right")
