"""Stray Scanner: rgb.mp4, depth/NNNNNN.png (millimetres), confidence/NNNNNN.png, camera_matrix.csv, odometry.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.layouts.layout import Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import find_first, hold, make_matrix, read_numbers, read_rows
from moonseg3r_core.sources.video import measure_video

KIND, NAME = "stray", "Stray Scanner"
COLUMNS = ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw")


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return (folder / "odometry.csv").is_file() and (folder / "rgb.mp4").is_file()


def read(folder: Path) -> Contents:
    """Read the frames that odometry.csv lists; depth of confidence 0 is left out, as the app's tools do. Its poses have OpenCV's axes. The intrinsics are those of the video."""
    rows = read_rows(folder / "odometry.csv")
    if not rows or tuple(rows[0][: len(COLUMNS)]) != COLUMNS:
        raise SourceError(f"{folder / 'odometry.csv'} must begin with {', '.join(COLUMNS)}, got {rows[:1]}.")
    table = read_numbers(folder / "odometry.csv", len(COLUMNS), skip=1)
    size = measure_video(folder / "rgb.mp4")
    shots = [
        _make_shot(folder, row, camera) for row, camera in zip(table, _read_cameras(folder, rows, size), strict=True)
    ]
    if not shots:
        raise SourceError(f"{folder / 'odometry.csv'} must list frames, got none; export it again.")
    return Contents(leave_out_incomplete(shots), video=folder / "rgb.mp4")


def _make_shot(folder: Path, row: np.ndarray, camera: Pinhole | None) -> Shot:
    number = int(row[1])
    files = (folder / "depth" / f"{number:06d}{suffix}" for suffix in (".png", ".npy"))
    depth = find_first(*files)
    pose = hold(make_matrix(row[2:5], row[5:9]))
    confidence = find_first(folder / "confidence" / f"{number:06d}.png")
    return Shot(number, float(row[0]), number, depth, pose, camera, confidence=confidence)


def _read_cameras(folder: Path, rows: list[list[str]], size: tuple[int, int]) -> list[Pinhole | None]:
    """Read the camera of each frame: newer exports have fx fy cx cy in each row, others one matrix."""
    if rows[0][9:13] == ["fx", "fy", "cx", "cy"]:
        numbers = read_numbers(folder / "odometry.csv", 13, skip=1)[:, 9:]
        return [Pinhole(make_intrinsics(*row), size) for row in numbers]
    file = folder / "camera_matrix.csv"
    common = Pinhole(read_numbers(file, 3)[:3], size) if file.is_file() else None
    return [common] * (len(rows) - 1)
