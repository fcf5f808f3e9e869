"""What a training writes down: `steps.csv`, a line every few steps, and `heldout.csv`, the scores of held-out rooms."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from moonseg3r_core.io.atomic import write_atomically

STEPS, HELD_OUT = "steps.csv", "heldout.csv"
_LOG = logging.getLogger("moonseg3r")


class Journal:
    """Lines of two CSV files and of the terminal; a silent one (of a process that is not the first) writes nothing."""

    def __init__(self, folder: Path, speaks: bool) -> None:
        self.folder, self.speaks = folder, speaks
        self._sums: dict[str, float | Tensor] = {}
        self._steps, self._skipped, self._frames, self._since = 0, 0, 0, time.monotonic()

    def learned(
        self,
        step: int,
        shape: tuple[int, ...],
        rate: float,
        values: Mapping[str, Tensor],
        every: int,
        skipped: bool = False,
    ) -> None:
        """A step on a batch of shape (B, T); every so often the mean of the steps since is written.

        A step that was skipped, for its gradients are not finite, is counted in the column `skipped` and in no mean.
        """
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + (0.0 if skipped else value.detach())
        self._steps, self._skipped = self._steps + 1, self._skipped + skipped
        self._frames += shape[0] * shape[1]
        if step % every:
            return
        learned = self._steps - self._skipped
        row = {"step": step, "window": shape[1], "batch": shape[0], "rate": rate}
        row |= {name: float(total) / learned if learned else float("nan") for name, total in self._sums.items()}
        speed = self._frames / (time.monotonic() - self._since)
        if self._skipped and self.speaks:
            _LOG.warning(
                "%d of the %d steps to %d are skipped: their gradients are not finite.",
                self._skipped,
                self._steps,
                step,
            )
        self._write(STEPS, row | {"frames_per_s": speed, "skipped": self._skipped, "time": time.time()})
        self._sums, self._steps, self._skipped, self._frames, self._since = {}, 0, 0, 0, time.monotonic()

    def scored(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of the held-out rooms after a step."""
        self._write(HELD_OUT, {"step": step, **scores})

    def resumed(self, step: int) -> None:
        """A run goes on after a step (0: it begins): lines of later ones are of steps that are made again, and go."""
        for path in (self.folder / STEPS, self.folder / HELD_OUT):
            if self.speaks and path.exists():
                columns, rows = _read(path)
                _rewrite(path, columns, [row for row in rows if _step(row) <= step])

    def say(self, text: str) -> None:
        """A line on the terminal."""
        if self.speaks:
            print(text, flush=True)

    def _write(self, name: str, row: Mapping[str, float]) -> None:
        if not self.speaks:
            return
        rounded = {
            key: f"{value:.6g}" if isinstance(value, float) and key != "time" else str(value)
            for key, value in row.items()
        }
        _append(self.folder / name, rounded)
        self.say("  ".join(f"{key} {value}" for key, value in rounded.items() if key != "time"))


def _append(path: Path, row: Mapping[str, str]) -> None:
    """One more line; a file that lacks one of its columns gets it, empty in the lines before."""
    columns, rows = _read(path) if path.exists() else ([], [])
    missing = [name for name in row if name not in columns]
    if missing:
        columns = [*columns, *missing]
        _rewrite(path, columns, rows)
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, columns).writerow(row)


def _read(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def _rewrite(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with write_atomically(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _step(row: Mapping[str, Any]) -> float:
    """The step of a line; of one that was cut off while it was written, none that was made."""
    whole = None not in row.values() and str(row.get("step")).isdecimal()
    return int(row["step"]) if whole else float("inf")
