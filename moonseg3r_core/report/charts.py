"""The two plots of the report as PNG: the map from above, and the time per stage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moonseg3r_core.report.topdown import TopDown

_LABEL_INCHES = np.array([0.3, 0.19])  # width and height of an id, inches
_INK, _FAINT = "#2b2f36", "#8a919c"
_STAGE_COLORS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#8c6d46", "#999933", "#222255", "#e58606",
)  # fmt: skip
_STYLE: Any = {
    "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": "#d5d8dd",
    "xtick.color": _FAINT, "ytick.color": _FAINT, "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def plot_map(view: TopDown, numbered: Sequence[int]) -> bytes:
    """Plot both rasters in metres, with the camera path and the ids of the instances in `numbered`.

    An id that would overlap an earlier one is left out.
    """
    with rc_context(_STYLE):
        width, height = view.extent[1] - view.extent[0], view.extent[3] - view.extent[2]
        upright = height > 0.9 * width
        rows, columns = (1, 2) if upright else (2, 1)
        panel = np.clip(height / width, 0.35, 1.8) * (5.4 if upright else 10.8)
        figure = Figure(figsize=(10.8, rows * (panel + 0.55)), layout="constrained")
        axes = figure.subplots(rows, columns)
        _draw_panel(axes[0], view, view.by_instance, "by instance")
        _draw_panel(axes[1], view, view.by_color, "in colour")
        inches_per_metre = figure.get_figwidth() / columns / width  # about
        labels = {id: view.labels[id] for id in numbered if id in view.labels}
        for id in choose_legible(labels, _LABEL_INCHES / inches_per_metre):
            axes[0].annotate(
                str(id), view.labels[id], ha="center", va="center", fontsize=7.5,
                bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )  # fmt: skip
        return encode_png(figure)


def choose_legible(labels: Mapping[int, tuple[float, float]], size: np.ndarray) -> list[int]:
    """Choose the ids whose label of width and height `size` (2,) overlaps none of the labels chosen before."""
    chosen: list[int] = []
    for id, position in labels.items():
        if all((np.abs(np.subtract(position, labels[other])) >= size).any() for other in chosen):
            chosen.append(id)
    return chosen


def plot_stage_times(
    indices: Sequence[int], stage_ms: Sequence[Mapping[str, float]], medians: Mapping[str, float]
) -> bytes:
    """Plot the milliseconds per stage, stacked over the frames, beside the median of each stage."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(10.8, 3.3), layout="constrained")
        over, bars = figure.subplots(1, 2, width_ratios=(2.4, 1))
        stages = list(medians)
        table = np.array([[frame.get(stage, 0.0) for frame in stage_ms] for stage in stages])
        palette = [_STAGE_COLORS[k % len(_STAGE_COLORS)] for k in range(len(stages))]
        over.stackplot(range(len(indices)), table, colors=palette, linewidth=0, step="mid")
        places = np.unique(np.linspace(0, len(indices) - 1, 8).round().astype(int))
        over.set_xticks(places, [str(indices[k]) for k in places])  # the frame numbers of the source
        over.set_xlim(0, max(len(indices) - 1, 1))
        over.set(ylabel="ms per frame", xlabel="frame", ylim=(0, 1.15 * np.percentile(table.sum(axis=0), 99)))
        bars.barh(range(len(stages)), list(medians.values()), color=palette, height=0.65)
        bars.set_yticks(range(len(stages)), stages, color=_INK)
        bars.set(xlabel="median, ms", xlim=(0, 1.25 * max(*medians.values(), 1e-3)))
        bars.invert_yaxis()
        for row, value in enumerate(medians.values()):
            bars.text(value, row, f" {value:.1f}", va="center", color=_INK)
        return encode_png(figure)


def _draw_panel(axis: Axes, view: TopDown, raster: np.ndarray, title: str) -> None:
    axis.imshow(raster, origin="lower", extent=view.extent, interpolation="nearest")
    axis.plot(*view.path.T, color="white", linewidth=3.2, alpha=0.8)
    axis.plot(*view.path.T, color=_INK, linewidth=1.2)
    # The circle is larger, so both markers show on a path that ends where it began.
    axis.plot(*view.path[0], "o", color="white", markeredgecolor=_INK, markersize=11)
    axis.plot(*view.path[-1], "s", color=_INK, markeredgecolor="white", markersize=7)
    axis.set(xlabel="metres", xlim=view.extent[:2], ylim=view.extent[2:])
    axis.set_title(title, fontsize=9, color=_FAINT)


def encode_png(figure: Figure, dpi: int = 150) -> bytes:
    """Encode a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
