"""KITTI odometry: image_2 or image_0, calib.txt and times.txt in sequences/NN, poses in poses/NN.txt; no depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.layout import Contents, Pinhole, Shot, leave_out_incomplete
from moonseg3r_core.sources.layouts.tables import find_first, hold, read_numbers, read_rows
from moonseg3r_core.sources.names import parse_numbers

KIND, NAME = "kitti", "KITTI odometry"
RATE = 10.0  # images per second
CAMERAS = ("2", "0", "3", "1")  # left color, left gray, right color, right gray


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return (folder / "calib.txt").is_file() and any((folder / f"image_{n}").is_dir() for n in CAMERAS)


def read(folder: Path) -> Contents:
    """Read the left color images, else the gray ones; image N has line N of the times and the poses."""
    name = next(n for n in CAMERAS if (folder / f"image_{n}").is_dir())
    files = list_images(folder / f"image_{name}")
    if not files:
        raise SourceError(f"{folder / f'image_{name}'} must hold images, got none.")
    intrinsics, first_from_camera = _read_calibration(folder / "calib.txt", f"P{name}")
    times = read_numbers(folder / "times.txt", 1)[:, 0] if (folder / "times.txt").is_file() else np.zeros(0)
    poses = _read_poses(folder)
    shots = []
    for number, file in zip(parse_numbers([file.stem for file in files]), files, strict=True):
        stamp = float(times[number]) if number < len(times) else number / RATE
        pose = poses[number] @ first_from_camera if number < len(poses) else None
        shots.append(Shot(number, stamp, file, None, hold(pose), Pinhole(intrinsics)))
    return Contents(leave_out_incomplete(shots))


def _read_poses(folder: Path) -> np.ndarray:
    """Read world_from_first (N, 4, 4), the poses of camera 0; none where there is no file."""
    name = folder.resolve().name
    above = folder.resolve().parent
    places = (folder / "poses.txt", folder / f"{name}.txt", above.parent / "poses" / f"{name}.txt", above / "poses" / f"{name}.txt")  # fmt: skip
    file = find_first(*places)
    if file is None:
        return np.zeros((0, 4, 4))
    rows = read_numbers(file, 12).reshape(-1, 3, 4)
    return np.concatenate((rows, np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(rows), 1, 4))), axis=1)


def _read_calibration(file: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the intrinsics (3, 3) of a rectified camera, and its pose (4, 4) beside camera 0, from its projection (3, 4)."""
    rows = {row[0].rstrip(":"): row[1:] for row in read_rows(file)}
    try:
        projection = np.array([float(word) for word in rows[name]]).reshape(3, 4)
        intrinsics = projection[:, :3].copy()
        first_from_camera = np.eye(4)
        first_from_camera[:3, 3] = -np.linalg.solve(intrinsics, projection[:, 3])
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise SourceError(f"{file} must hold {name} with 12 numbers, got: {error}; copy it again.") from error
    return intrinsics, first_from_camera
