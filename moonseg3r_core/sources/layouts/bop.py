"""A scene of BOP (YCB-V, T-LESS ...): rgb/NNNNNN, depth/NNNNNN.png, and scene_camera.json with all numbers of each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete
from moonseg3r_core.sources.layouts.tables import find_first, hold, read_json
from moonseg3r_core.sources.names import parse_numbers
from moonseg3r_core.sources.transforms import invert

KIND, NAME = "bop", "BOP"
MILLIMETRES = 1000.0  # in a metre


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return (folder / "scene_camera.json").is_file() and any((folder / name).is_dir() for name in ("rgb", "gray"))


def read(folder: Path) -> Contents:
    """Read frames by number: intrinsics, camera_from_world in millimetres, and millimetres in a unit of depth."""
    images = list_images(folder / ("rgb" if (folder / "rgb").is_dir() else "gray"))
    cameras = read_json(folder / "scene_camera.json")
    if not images or not cameras:
        raise SourceError(f"{folder} must hold images in rgb/ and their cameras in scene_camera.json, got none.")
    try:
        scale = MILLIMETRES / float(next(iter(cameras.values())).get("depth_scale", 1.0))
        numbers = parse_numbers([image.stem for image in images])
        shots = [
            _make_shot(folder, n, image, cameras.get(str(n), {})) for n, image in zip(numbers, images, strict=True)
        ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise SourceError(f"{folder / 'scene_camera.json'} must hold cam_K and depth_scale, got: {error!r}.") from error
    return Contents(leave_out_incomplete(shots), depth_scale=scale)


def _make_shot(folder: Path, number: int, image: Path, given: dict[str, Any]) -> Shot:
    camera = Pinhole(np.array(given["cam_K"], dtype=np.float64).reshape(3, 3)) if "cam_K" in given else None
    pose = None
    if "cam_R_w2c" in given:
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = np.reshape(given["cam_R_w2c"], (3, 3))
        camera_from_world[:3, 3] = np.array(given["cam_t_w2c"], dtype=np.float64) / MILLIMETRES
        pose = invert(camera_from_world)
    depth = find_first(folder / "depth" / f"{image.stem}.png")
    return Shot(number, number / RATE, image, depth, hold(pose), camera)
