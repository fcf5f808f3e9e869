"""Read the text files of recordings: tables, trajectories, poses. Comments, blank lines and line ends of Windows pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.files import read_matrix
from moonseg3r_core.sources.layouts.layout import make_intrinsics
from moonseg3r_core.sources.transforms import TransformError, make_pose

T = TypeVar("T")

CALIBRATIONS = ("calibration.txt", "camera-intrinsics.txt", "intrinsics.txt")
MATRICES = {9: (3, 3), 16: (4, 4)}
MAX_GAP_S = 0.02  # between parts of one frame, as the tools of TUM RGB-D have it


def read_text(file: Path) -> str:
    """Read a text file. Raises SourceError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file} must be a readable text file, got: {error}; copy it again.") from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises SourceError."""
    try:
        found = json.loads(read_text(file))
    except ValueError as error:
        raise SourceError(f"{file} must be a JSON file, got: {error}; copy it again.") from error
    if not isinstance(found, dict):
        raise SourceError(f"{file} must hold a JSON object, got {type(found).__name__}; copy it again.")
    return found


def read_rows(file: Path) -> list[list[str]]:
    """Read the words of each line, parted by commas or blanks, without comments and blank lines. Raises SourceError."""
    lines = (line.strip() for line in read_text(file).splitlines())
    return [line.replace(",", " ").split() for line in lines if line and not line.startswith("#")]


def read_numbers(file: Path, columns: int, *, skip: int = 0) -> np.ndarray:
    """Read (N, columns) float64, the first columns of each row after `skip` rows. Raises SourceError for other rows."""
    rows = read_rows(file)[skip:]
    try:
        table = [[float(word) for word in row[:columns]] for row in rows]
    except ValueError as error:
        raise SourceError(f"{file} must hold {columns} numbers in a line, got: {error}; copy it again.") from error
    short = next((row for row in table if len(row) < columns), None)
    if short is not None:
        raise SourceError(f"{file} must hold {columns} numbers in a line, got {len(short)}: {short}; copy it again.")
    return np.array(table, dtype=np.float64).reshape(-1, columns)


def find_first(*candidates: Path) -> Path | None:
    """Return the first of these files that exists."""
    return next((file for file in candidates if file.is_file()), None)


def read_calibration(folder: Path) -> np.ndarray | None:
    """Read intrinsics (3, 3) float64 that were written to the folder or the one above, None where there are none.

    The file holds fx fy cx cy, or a matrix (3, 3) or (4, 4). Raises SourceError for anything else.
    """
    file = find_first(*(place / name for place in (folder, folder.parent) for name in CALIBRATIONS))
    if file is None:
        return None
    rows = read_rows(file)
    try:
        numbers = np.array([float(word) for row in rows for word in row])
        matrix = _read_camera_numbers(numbers[:4] if len(rows) == 1 and numbers.size not in MATRICES else numbers)
    except (ValueError, KeyError) as error:
        raise SourceError(f"{file} must hold fx fy cx cy, or a matrix of 3 or 4 rows, got {rows[:4]}.") from error
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise SourceError(f"{file} must hold finite intrinsics with focal lengths above 0, got {matrix.tolist()}.")
    return matrix


def _read_camera_numbers(numbers: np.ndarray) -> np.ndarray:
    if numbers.size == 4:
        return make_intrinsics(*numbers)
    return numbers.reshape(MATRICES[numbers.size])[:3, :3].copy()


def make_matrix(position: Iterable[float], quaternion: Iterable[float]) -> np.ndarray | None:
    """Make a pose (4, 4) float64 from a position and a quaternion x y z w; None where they are no pose."""
    try:
        return make_pose(tuple(position), tuple(quaternion))
    except TransformError:
        return None


def hold(pose: np.ndarray | None) -> Callable[[], np.ndarray] | None:
    """Return a reader of a pose that is known already; None for a pose that is missing or not finite."""
    if pose is None or not np.isfinite(pose).all():
        return None
    return lambda: pose


def read_finite_pose(file: Path) -> np.ndarray:
    """Read a pose (4, 4) from a text file. Raises FrameRejected for one with infinite numbers, which mean no pose."""
    pose = read_matrix(file)
    if not np.isfinite(pose).all():
        raise FrameRejected("no pose belongs to the image", f"{file.name} holds numbers that are not finite; left out")
    return pose


def find_nearest(stamp: float, series: Sequence[tuple[float, T]], stamps: np.ndarray) -> T | None:
    """Return what is nearest in time in a series sorted by stamp, None beyond MAX_GAP_S. `stamps` are those of it."""
    if not len(stamps):
        return None
    after = int(np.searchsorted(stamps, stamp))
    near = [i for i in (after - 1, after) if 0 <= i < len(stamps)]
    best = min(near, key=lambda i: abs(stamps[i] - stamp))
    return series[best][1] if abs(stamps[best] - stamp) <= MAX_GAP_S + 1e-6 else None
