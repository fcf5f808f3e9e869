"""EuRoC: mav0/cam0/data.csv and sensor.yaml, poses of the body in mav0/state_groundtruth_estimate0/data.csv; no depth.

TUM VI has the same layout, with poses in mav0/mocap0/data.csv and a fisheye lens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.layouts.layout import Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.lenses import describe_lens
from moonseg3r_core.sources.layouts.tables import (  # fmt: skip
    find_first,
    find_nearest,
    hold,
    make_matrix,
    read_numbers,
    read_rows,
    read_text,
)

KIND, NAME = "euroc", "EuRoC"
NANOSECONDS = 1e-9
POSES = ("state_groundtruth_estimate0", "state_groundtruth0", "mocap0")


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout; it may be the sequence, its mav0 or its cam0."""
    return _find_camera_folder(folder) is not None


def read(folder: Path) -> Contents:
    """Read the images of cam0 with the pose that is nearest in time: that of the body, by the camera's place on it."""
    place = _find_camera_folder(folder)
    assert place is not None
    camera, body_from_camera, notes = _read_sensor(place / "sensor.yaml")
    poses = _read_trajectory(place.parent)
    stamps = np.array([stamp for stamp, _ in poses])
    shots = []
    for index, row in enumerate(read_rows(place / "data.csv")):
        stamp = _parse_stamp(row[0], place / "data.csv")
        body = find_nearest(stamp, poses, stamps)
        pose = None if body is None or body_from_camera is None else body @ body_from_camera
        shots.append(Shot(index, stamp, place / "data" / row[-1], None, hold(pose), camera))
    if not shots:
        raise SourceError(f"{place / 'data.csv'} must list images, got none; copy it again.")
    return Contents(leave_out_incomplete(shots), notes=notes)


def _find_camera_folder(folder: Path) -> Path | None:
    places = (folder / "mav0" / "cam0", folder / "cam0", folder)
    found = (place for place in places if place.name == "cam0" or place != folder)
    return next((place for place in found if (place / "data.csv").is_file() and (place / "data").is_dir()), None)


def _parse_stamp(word: str, file: Path) -> float:
    if not word.isdecimal():
        raise SourceError(f"{file} must begin each line with a time in ns, got '{word}'; copy it again.")
    return int(word) * NANOSECONDS


def _read_trajectory(mav: Path) -> list[tuple[float, np.ndarray]]:
    """Read (stamp, world_from_body): time in ns, position, quaternion w x y z."""
    file = find_first(*(mav / name / "data.csv" for name in POSES))
    if file is None:
        return []
    found = ((row[0] * NANOSECONDS, make_matrix(row[1:4], row[[5, 6, 7, 4]])) for row in read_numbers(file, 8))
    return sorted(((stamp, pose) for stamp, pose in found if pose is not None), key=lambda entry: entry[0])


def _read_sensor(file: Path) -> tuple[Pinhole | None, np.ndarray | None, tuple[str, ...]]:
    """Read intrinsics, body_from_camera and what is to be said of the lens."""
    if not file.is_file():
        return None, None, (f"{file.name} is missing; images come without intrinsics and poses",)
    try:
        sensor: dict[str, Any] = yaml.safe_load(read_text(file))
        width, height = sensor["resolution"]
        pinhole = Pinhole(make_intrinsics(*map(float, sensor["intrinsics"][:4])), (int(height), int(width)))
        body_from_camera = np.array(sensor["T_BS"]["data"], dtype=np.float64).reshape(4, 4)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())
        raise SourceError(f"{file} must hold resolution, intrinsics and T_BS, got: {told}; copy it again.") from error
    name = str(sensor.get("distortion_model", ""))
    coefficients = [float(value) for value in sensor.get("distortion_coefficients") or ()]
    usable, notes = describe_lens(name, coefficients)
    return (pinhole if usable else None), body_from_camera, notes
