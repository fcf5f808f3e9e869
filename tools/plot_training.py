"""Plot the losses of a training and its scores on held-out rooms.

python tools/plot_training.py OUT FILE.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from moonseg3r_core.training.common.log import HELD_OUT, STEPS

Table = dict[str, np.ndarray]
_NOT_LOSSES = {"step", "window", "batch", "rate", "total", "norm", "frames_per_s", "skipped", "time"}


def main(folder: Path, file: Path) -> None:
    """Plot OUT/steps.csv, and OUT/heldout.csv where it exists."""
    steps = read_table(folder / STEPS)
    panels = [plot_losses, *((plot_depth, plot_path) if (folder / HELD_OUT).exists() else ())]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6), layout="constrained", squeeze=False)
    for panel, axis in zip(panels, axes[0], strict=True):
        panel(axis, steps if panel is plot_losses else read_table(folder / HELD_OUT))
        mark_windows(axis, steps)
        axis.set(xlabel="step", xlim=(0, steps["step"][-1]))
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, framealpha=0.6)
    figure.savefig(file, dpi=110)


def read_table(path: Path) -> Table:
    """Read the columns of a CSV file; an empty field is NaN, and of rows of one step the last counts."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list({row["step"]: row for row in csv.DictReader(file)}.values())
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}


def plot_losses(axis: Axes, steps: Table) -> None:
    """Plot each loss on a symmetric log scale: confidence makes losses of points negative."""
    for name in [name for name in steps if name not in _NOT_LOSSES]:
        axis.plot(steps["step"], steps[name], label=name)
    axis.set(title="losses")
    axis.set_yscale("symlog", linthresh=0.1)


def plot_depth(axis: Axes, held: Table) -> None:
    """Plot the scores of depth after one scale a walk, beside the best constant depth."""
    axis.plot(held["step"], held["abs_rel"], "o-", label="abs-rel")
    axis.plot(held["step"], held["constant_abs_rel"], "--", color="gray", label="abs-rel of the best constant depth")
    axis.plot(held["step"], held["delta"], "s-", label="share within a factor 1.25")
    axis.set(title="held-out rooms: depth", ylim=(0, 1.3), yticks=np.arange(0, 1.1, 0.2))


def plot_path(axis: Axes, held: Table) -> None:
    """Plot the error of positions after a similarity, beside a camera that stands still."""
    axis.plot(held["step"], held["ate_percent"], "o-", label="ATE")
    axis.plot(held["step"], held["still_percent"], "--", color="gray", label="ATE of standing still")
    axis.set(title="held-out rooms: camera path", ylabel="% of the path's length")
    axis.set_ylim(0, 1.2 * np.nanmax(held["still_percent"]))


def mark_windows(axis: Axes, steps: Table) -> None:
    """Mark the steps at which the windows of the curriculum change."""
    for index in np.flatnonzero(np.diff(steps["window"])):
        axis.axvline(steps["step"][index], color="black", alpha=0.25, linewidth=1, linestyle=":")
        axis.text(
            steps["step"][index], 0.99, f" {steps['window'][index + 1]:.0f} frames", fontsize=7, va="top", alpha=0.6,
            transform=axis.get_xaxis_transform(),
        )  # fmt: skip


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
