"""A table of measured rows as Markdown, and a description of the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import torch

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Table:
    """Rows with the same columns."""

    title: str
    rows: list[Row]
    digits: int = 2

    def __str__(self) -> str:
        names = list(self.rows[0]) if self.rows else []
        form = f".{self.digits}f"
        rows = [[row[name] for name in names] for row in self.rows]
        cells = [names] + [[format(cell, form if isinstance(cell, float) else "") for cell in row] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = [_format_line(cells[0], widths), "|".join(["", *("-" * (width + 2) for width in widths), ""])]
        return "\n".join([self.title, "", *lines, *(_format_line(line, widths) for line in cells[1:])])


def describe_machine() -> str:
    """Describe this machine in one line."""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{_read_processor()}, {threads}{gpu}, Python {platform.python_version()}, torch {torch.__version__}"


def _read_processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _format_line(cells: list[str], widths: list[int]) -> str:
    first, *others = [f" {cell:<{width}} " if i == 0 else f" {cell:>{width}} " for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]  # fmt: skip
    return "|".join(["", first, *others, ""])
