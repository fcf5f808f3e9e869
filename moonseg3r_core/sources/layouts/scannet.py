"""A ScanNet export: color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_color.txt, intrinsic/intrinsic_depth.txt."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images, read_matrix
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot
from moonseg3r_core.sources.layouts.tables import find_first, read_calibration, read_json
from moonseg3r_core.sources.names import parse_numbers, parse_timestamps
from moonseg3r_core.sources.registration import choose_color_intrinsics

KIND, NAME = "scannet", "ScanNet"
DEPTHS = (".png", ".pgm", ".tif", ".tiff", ".npy")


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout; color may be in rgb/, where its numbered images are not TUM's."""
    if (folder / "color").is_dir():
        return True
    known = (folder / "rgb").is_dir() and (folder / "depth").is_dir() and not (folder / "rgb.txt").is_file()
    return known and parse_timestamps([file.stem for file in list_images(folder / "rgb")]) is None


def read(folder: Path) -> Contents:
    """Read frames numbered by file name; a frame without depth or pose stays, and so does ScanNet's infinite pose.

    The intrinsics are chosen for each image: exports with color shrunk to the depth's size keep those of the large one.
    """
    place = folder / ("color" if (folder / "color").is_dir() else "rgb")
    files = list_images(place)
    if not files:
        raise SourceError(f"{place} holds no image; expected {place.name}/0.jpg, {place.name}/1.jpg and so on.")
    color = _read_camera(folder / "intrinsic" / "intrinsic_color.txt") or _read_other_camera(folder)
    depth = _read_camera(folder / "intrinsic" / "intrinsic_depth.txt")
    numbers = parse_numbers([file.stem for file in files])
    depths, poses = _list_partners(folder / "depth", DEPTHS), _list_partners(_find_poses(folder), (".txt",))
    shots = []
    for file, number in zip(files, numbers, strict=True):
        pose = poses.get(file.stem, poses.get(number))
        read_pose = partial(read_matrix, pose) if pose else None
        shots.append(Shot(number, number / RATE, file, depths.get(file.stem, depths.get(number)), read_pose, color))
    return Contents(shots, depth_camera=depth, choose_intrinsics=choose_color_intrinsics)


def _find_poses(folder: Path) -> Path:
    return folder / ("pose" if (folder / "pose").is_dir() else "poses")


def _list_partners(folder: Path, suffixes: tuple[str, ...]) -> dict[str | int, Path]:
    """List the files of a folder by name and by number, as exports pad the numbers in one folder alone."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in suffixes] if folder.is_dir() else []
    return {int(file.stem): file for file in files if file.stem.isdecimal()} | {file.stem: file for file in files}


def _read_other_camera(folder: Path) -> Pinhole | None:
    """Read calibration.txt, or the camera_intrinsic.json that Open3D's recorder writes, its matrix by columns."""
    if (file := find_first(folder / "camera_intrinsic.json", folder / "intrinsic.json")) is None:
        own = read_calibration(folder)
        return None if own is None else Pinhole(own)
    given = read_json(file)
    try:
        matrix = np.array(given["intrinsic_matrix"], dtype=np.float64).reshape(3, 3).T.copy()
        return Pinhole(matrix, (int(given["height"]), int(given["width"])))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{file} must hold width, height and intrinsic_matrix, got: {error!r}.") from error


def _read_camera(file: Path) -> Pinhole | None:
    matrix = read_intrinsics(file)
    return None if matrix is None else Pinhole(matrix)


def read_intrinsics(file: Path) -> np.ndarray | None:
    """Read (3, 3) float64 from a 3x3 or 4x4 text file, None where there is no file. Raises SourceError."""
    if not file.exists():
        return None
    expected = f"{file} must hold 3 or 4 rows of finite intrinsics with focal lengths above 0"
    try:
        matrix = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise SourceError(f"{expected}, got: {' '.join(str(error).split())}") from error
    if min(matrix.shape) < 3 or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise SourceError(f"{expected}, got {matrix.tolist()}; export them again.")
    return matrix[:3, :3]
