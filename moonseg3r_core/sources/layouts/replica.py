"""Replica as NICE-SLAM renders it: results/frameNNNNNN.jpg, results/depthNNNNNN.png, traj.txt, ../cam_params.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import find_first, hold, read_calibration, read_json, read_numbers
from moonseg3r_core.sources.names import parse_numbers

KIND, NAME = "replica", "Replica (NICE-SLAM's)"
# NICE-SLAM's configuration of Replica, which its cam_params.json repeats.
DEFAULT = {"w": 1200, "h": 680, "fx": 600.0, "fy": 600.0, "cx": 599.5, "cy": 339.5, "scale": 6553.5}
NOTE = (
    "without cam_params.json NICE-SLAM's numbers hold: 600 600 599.5 339.5 at 1200x680, 6553.5 depth units in a metre"
)


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout; it may be `results` itself."""
    root = _find_root(folder)
    known = (root / "results").is_dir() and ((root / "traj.txt").is_file() or bool(_list_series(root, "depth")))
    return known and bool(_list_series(root, "frame"))


def read(folder: Path) -> Contents:
    """Read frames with the depth of the same number and the pose of the same line or number of traj.txt."""
    folder = _find_root(folder)
    colors, depths = _list_series(folder, "frame"), _list_series(folder, "depth")
    poses = read_numbers(folder / "traj.txt", 16).reshape(-1, 4, 4) if (folder / "traj.txt").is_file() else np.zeros(0)
    rows = list(colors) if len(colors) != len(poses) and max(colors) < len(poses) else range(len(colors))
    camera, scale, notes = _read_camera(folder)
    shots = [
        Shot(n, n / RATE, file, depths.get(n), hold(poses[row]) if row < len(poses) else None, camera)
        for row, (n, file) in zip(rows, colors.items(), strict=True)
    ]
    help = "; give those of these images in cam_params.json or calibration.txt"
    return Contents(leave_out_incomplete(shots), depth_scale=scale, intrinsics_help=help, notes=notes)


def _find_root(folder: Path) -> Path:
    return folder.parent if folder.name == "results" and not (folder / "results").is_dir() else folder


def _list_series(folder: Path, prefix: str) -> dict[int, Path]:
    files = [file for file in list_images(folder / "results") if file.stem.startswith(prefix)]
    return dict(zip(parse_numbers([file.stem for file in files]), files, strict=True))


def _read_camera(folder: Path) -> tuple[Pinhole, float, tuple[str, ...]]:
    file = find_first(folder / "cam_params.json", folder.parent / "cam_params.json")
    if file is None and (own := read_calibration(folder)) is not None:
        return Pinhole(own), DEFAULT["scale"], ()
    notes = () if file else (NOTE,)
    try:
        found = DEFAULT if file is None else DEFAULT | read_json(file)["camera"]
        w, h, fx, fy, cx, cy, scale = (float(found[key]) for key in DEFAULT)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{file} must hold camera with w, h, fx, fy, cx, cy and scale, got: {error!r}.") from error
    return Pinhole(make_intrinsics(fx, fy, cx, cy), (int(h), int(w))), scale, notes
