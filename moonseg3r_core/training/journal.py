"""What a training writes down: `steps.csv`, a line every few steps, and `heldout.csv`, the scores of held-out rooms."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

STEPS, HELD_OUT = "steps.csv", "heldout.csv"


class Journal:
    """Lines of two CSV files and of the terminal; a silent one (of a process that is not the first) writes nothing."""

    def __init__(self, folder: Path, speaks: bool) -> None:
        self.folder, self.speaks = folder, speaks
        self._sums: dict[str, Tensor] = {}
        self._steps, self._frames, self._since = 0, 0, time.monotonic()

    def learned(self, step: int, shape: tuple[int, ...], rate: float, values: Mapping[str, Tensor], every: int) -> None:
        """A step on a batch of shape (B, T); every so often the mean of the steps since is written."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._steps, self._frames = self._steps + 1, self._frames + shape[0] * shape[1]
        if step % every:
            return
        now = time.monotonic()
        row = {"step": step, "window": shape[1], "batch": shape[0], "rate": rate}
        row |= {name: float(total) / self._steps for name, total in self._sums.items()}
        self._write(STEPS, row | {"frames_per_s": self._frames / (now - self._since), "time": time.time()})
        self._sums, self._steps, self._frames, self._since = {}, 0, 0, now

    def scored(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of the held-out rooms after a step."""
        self._write(HELD_OUT, {"step": step, **scores})

    def _write(self, name: str, row: Mapping[str, float]) -> None:
        if not self.speaks:
            return
        rounded = {
            key: f"{value:.6g}" if isinstance(value, float) and key != "time" else str(value)
            for key, value in row.items()
        }
        path = self.folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(rounded)
        print("  ".join(f"{key} {value}" for key, value in rounded.items() if key != "time"), flush=True)
