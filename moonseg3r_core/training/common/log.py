"""The log of a training: `steps.csv`, a row every few steps, and `heldout.csv`, the scores on held-out rooms."""

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
Row = dict[str, str]


class TrainingLog:
    """Writes rows of two CSV files and prints them; only the first process of a run enables it.

    Lightning's CSVLogger does not do: it deletes the file of a run that goes on, and sorts the columns.
    """

    def __init__(self, folder: Path, enabled: bool) -> None:
        self.folder, self.enabled = folder, enabled
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, float | Tensor] = {}
        self._steps, self._skipped, self._frames, self._since = 0, 0, 0, time.monotonic()

    def log_step(
        self,
        step: int,
        shape: tuple[int, ...],
        rate: float,
        values: Mapping[str, Tensor],
        every: int,
        skipped: bool = False,
    ) -> None:
        """Log a step on a batch of shape (B, T); write the means of `values` every so many steps.

        The column `skipped` counts the steps whose gradients are not finite; the means leave them out.
        """
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + (0.0 if skipped else value.detach())
        self._steps, self._skipped = self._steps + 1, self._skipped + skipped
        self._frames += shape[0] * shape[1]
        if step % every:
            return
        used = self._steps - self._skipped
        row = {"step": step, "window": shape[1], "batch": shape[0], "rate": rate}
        row |= {name: float(total) / used if used else float("nan") for name, total in self._sums.items()}
        speed = self._frames / (time.monotonic() - self._since)
        if self._skipped and self.enabled:
            _LOG.warning(
                "%d of the %d steps to %d are skipped: their gradients are not finite.",
                self._skipped,
                self._steps,
                step,
            )
        self._write(STEPS, row | {"frames_per_s": speed, "skipped": self._skipped, "time": time.time()})
        self._reset()

    def log_scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Log the scores on the held-out rooms after a step."""
        self._write(HELD_OUT, {"step": step, **scores})

    def drop_rows_after(self, step: int) -> None:
        """Drop the rows of later steps, which a run that goes on after `step` makes again."""
        for path in (self.folder / STEPS, self.folder / HELD_OUT):
            if self.enabled and path.exists():
                _write_rows(path, [row for row in _read_rows(path) if _read_step(row) <= step])

    def print_line(self, text: str) -> None:
        """Print a line on the terminal."""
        if self.enabled:
            print(text, flush=True)

    def _write(self, name: str, row: Mapping[str, float]) -> None:
        if not self.enabled:
            return
        rounded = {
            key: f"{value:.6g}" if isinstance(value, float) and key != "time" else str(value)
            for key, value in row.items()
        }
        path = self.folder / name
        _write_rows(path, [*(_read_rows(path) if path.exists() else ()), rounded])
        self.print_line("  ".join(f"{key} {value}" for key, value in rounded.items() if key != "time"))


def _read_rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, with the columns of any row; a field that a row lacks is empty."""
    columns = dict.fromkeys(name for row in rows for name in row)
    with write_atomically(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def _read_step(row: Mapping[str, Any]) -> float:
    """The step of a row; infinity for an incomplete row."""
    complete = None not in row.values() and str(row.get("step")).isdecimal()
    return int(row["step"]) if complete else float("inf")
