"""TUM RGB-D: rgb.txt and depth.txt list images by time, groundtruth.txt holds poses; 5000 depth units in a metre.

Bonn's RGB-D Dynamic and ETH3D's SLAM recordings have the same layout.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.agreement import Convention, find_better
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import (
    find_first,
    find_nearest,
    hold,
    make_matrix,
    read_calibration,
    read_numbers,
    read_rows,
)
from moonseg3r_core.sources.names import parse_numbers, parse_timestamps

KIND, NAME = "tum", "TUM RGB-D"
SCALE = 5000.0
SIZE = (480, 640)
# fx, fy, cx, cy as their makers publish them, by a part of the folder's name.
CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
    "bonn": (542.822841, 542.576870, 315.593520, 237.756098),
}
DISTORTED = ("freiburg1", "freiburg2", "bonn")
KINECT = (525.0, 525.0, 319.5, 239.5)  # what TUM's page advises where nothing else is known

# Bonn's page: from the camera to the markers on it, whose pose groundtruth.txt holds, and to the axes of ROS.
ROS_FROM_BONN = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
MARKERS_FROM_CAMERA = np.array(
    [
        [1.0157, 0.1828, -0.2389, 0.0113],
        [0.0009, -0.8431, -0.6413, -0.0098],
        [-0.3009, 0.6147, -0.8085, 0.0111],
        [0, 0, 0, 1],
    ]
)

Series = list[tuple[float, Path]]


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout; the lists may be missing where file names are times."""
    return (folder / "rgb.txt").is_file() or ((folder / "rgb").is_dir() and (folder / "depth").is_dir())


def read(folder: Path) -> Contents:
    """Read color images with the depth and the pose that are nearest in time, at most 0.02 s away."""
    colors, depths = _read_series(folder, "rgb"), _read_series(folder, "depth")
    if not colors:
        raise SourceError(f"{folder} must list color images in rgb.txt or hold them in rgb/, got none.")
    poses = _read_trajectory(folder)
    depth_stamps, pose_stamps = (np.array([stamp for stamp, _ in series]) for series in (depths, poses))
    camera, notes = _find_camera(folder)
    shots = [
        Shot(
            index, stamp, file, find_nearest(stamp, depths, depth_stamps),
            hold(find_nearest(stamp, poses, pose_stamps)), camera,
        )
        for index, (stamp, file) in enumerate(colors)
    ]  # fmt: skip
    shots = leave_out_incomplete(shots)
    if _find_name(folder) == "bonn":
        shots = _place_camera(shots, camera)
    help = f"; write fx fy cx cy of these images to {folder / 'calibration.txt'}"
    return Contents(shots, depth_scale=SCALE, intrinsics_help=help, notes=notes)


def _read_series(folder: Path, name: str) -> Series:
    """Read the images that NAME.txt lists, or those of the folder NAME by the times or numbers that they are named."""
    table = folder / f"{name}.txt"
    if not table.is_file():
        return _list_stamped(folder / name) if (folder / name).is_dir() else []
    rows = read_rows(table)
    try:
        return sorted((float(row[0]), folder / row[1].replace("\\", "/")) for row in rows)
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"{table} must hold a time and a file name in each line, got: {error}; copy it again."
        ) from error


def _list_stamped(folder: Path) -> Series:
    files = list_images(folder)
    stems = [file.stem for file in files]
    stamps = parse_timestamps(stems) or [number / RATE for number in parse_numbers(stems)]
    return sorted(zip(stamps, files, strict=True))


def _read_trajectory(folder: Path) -> list[tuple[float, np.ndarray]]:
    file = find_first(folder / "groundtruth.txt", folder / "pose.txt", folder / "poses.txt")
    if file is None:
        return []
    found = [(row[0], make_matrix(row[1:4], row[4:8])) for row in read_numbers(file, 8)]
    return sorted(((stamp, pose) for stamp, pose in found if pose is not None), key=lambda entry: entry[0])


def _find_camera(folder: Path) -> tuple[Pinhole, tuple[str, ...]]:
    """Find the intrinsics in calibration.txt, else by the folder's name, and say which were taken."""
    if (own := read_calibration(folder)) is not None:
        return Pinhole(own), ()
    name = _find_name(folder)
    if name is None:
        told = "the folder holds no intrinsics; those of a Kinect are taken (525 525 319.5 239.5 at 640x480)"
        return Pinhole(make_intrinsics(*KINECT), SIZE), (f"{told}; write fx fy cx cy to calibration.txt to be exact",)
    ignored = (f"the lens distortion of {name}'s camera is ignored",) if name in DISTORTED else ()
    return Pinhole(make_intrinsics(*CAMERAS[name]), SIZE), ignored


def _find_name(folder: Path) -> str | None:
    """Find which published camera the name of the folder, or of the one above, tells."""
    names = (part.lower() for part in folder.resolve().parts[:-3:-1])
    return next((key for name in names for key in CAMERAS if re.search(rf"(?<![a-z]){key}(?![a-z])", name)), None)


def _place_camera(shots: list[Shot], camera: Pinhole) -> list[Shot]:
    """Make the poses of Bonn's markers those of the camera, where the depth images agree that they are the markers'."""
    placed = ROS_FROM_BONN @ MARKERS_FROM_CAMERA
    left, _, right = np.linalg.svd(placed[:3, :3])
    placed[:3, :3] = left @ right  # as published it is a rotation but for a scale
    markers = Convention(camera, placed)
    if find_better(shots, SCALE, None, Convention(camera, np.eye(4)), markers) is not markers:
        return shots
    return [replace(shot, read_pose=hold(shot.read_pose() @ placed)) if shot.read_pose else shot for shot in shots]
