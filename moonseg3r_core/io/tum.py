"""Reads and writes trajectories in the TUM text format: `stamp tx ty tz qx qy qz qw` per line, metres, world_from_camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import OutputError
from moonseg3r_core.geometry import quaternion_from_rotation, rotation_from_quaternion
from moonseg3r_core.io.atomic import explain_write_errors

_MAX_NUMBER = 1e12  # its square must be a number too


def write_tum(path: str | Path, stamps: Sequence[float] | Tensor, poses: Sequence[Tensor] | Tensor) -> None:
    """Write stamps (N,) seconds and rigid poses (N, 4, 4). Raises OutputError when the file cannot be written."""
    if len(stamps) != len(poses):
        raise ValueError(f"write_tum needs one pose per stamp, got {len(stamps)} stamps and {len(poses)} poses.")
    lines = ["# stamp tx ty tz qx qy qz qw (world_from_camera)"]
    for stamp, pose in zip(stamps, poses, strict=True):
        values = pose[:3, 3].tolist() + quaternion_from_rotation(pose[:3, :3]).tolist()
        lines.append(f"{float(stamp):.9f} " + " ".join(f"{value:.9f}" for value in values))
    with explain_write_errors(path):
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_tum(path: str | Path) -> tuple[Tensor, Tensor]:
    """Read stamps (N,) float64 seconds and poses (N, 4, 4) float64; comments and empty lines are ignored.

    Raises OutputError for a file that is missing or holds a line that is not eight finite numbers.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OutputError(f"cannot read {path}: {reason}; give a trajectory in the TUM format.") from error
    rows = [
        _parse_line(line, f"{path}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(table), 1, 1)
    poses[:, :3, :3] = rotation_from_quaternion(table[:, 4:])
    poses[:, :3, 3] = table[:, 1:4]
    return table[:, 0], poses


def _parse_line(line: str, where: str) -> list[float]:
    """Parse the eight numbers of one line; the quaternion must not be zero."""
    try:
        row = [float(word) for word in line.replace(",", " ").split()]
    except ValueError:
        row = []
    if len(row) != 8 or not (np.abs(row) < _MAX_NUMBER).all() or np.linalg.norm(row[4:]) < 1e-6:
        raise OutputError(
            f"{where}: expected `stamp tx ty tz qx qy qz qw`, got '{line.strip()[:80]}'; repair the line."
        )
    return row
