"""nerfstudio, also as Polycam and others export it: transforms.json with poses of OpenGL axes, images, perhaps depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.layouts.layout import (  # fmt: skip
    RATE,
    Camera,
    Contents,
    FieldOfView,
    Pinhole,
    Shot,
    leave_out_incomplete,
    make_intrinsics,
)
from moonseg3r_core.sources.layouts.lenses import describe_lens
from moonseg3r_core.sources.layouts.tables import find_first, hold, read_json
from moonseg3r_core.sources.names import make_natural_key, parse_numbers, parse_timestamps

KIND, NAME = "nerfstudio", "nerfstudio (transforms.json)"
METRES_PER_UNIT = 0.001  # of depth, where the file does not tell
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
IMPLIED = (".png", ".jpg", ".jpeg")  # of names without a suffix, as NeRF's synthetic scenes have them


Notes = tuple[str, ...]


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return _find_file(folder) is not None


def read(folder: Path) -> Contents:
    """Read the frames in the order of their names; depth is in millimetres unless depth_unit_scale_factor tells."""
    file = _find_file(folder)
    assert file is not None
    scene = read_json(file)
    try:
        frames = sorted(scene["frames"], key=lambda frame: make_natural_key(frame["file_path"]))
        shots, notes = _make_shots(folder, scene, frames)
        metres = float(scene.get("depth_unit_scale_factor", METRES_PER_UNIT))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{file} must hold frames with file_path and transform_matrix, got: {error!r}.") from error
    return Contents(
        leave_out_incomplete(shots), axes="opengl", depth_scale=1 / metres if metres > 0 else 0, notes=notes
    )


def _make_shots(
    folder: Path, scene: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]
) -> tuple[list[Shot], Notes]:
    """Make the frames, and say what their lens means."""
    common = {**frames[0], **scene}
    coefficients = [float(common.get(key) or 0) for key in DISTORTION]
    usable, notes = describe_lens(str(common.get("camera_model", "")), coefficients)
    images = [_find_image(folder, frame["file_path"]) for frame in frames]
    numbers = parse_numbers([image.stem for image in images])
    stamps = parse_timestamps([image.stem for image in images]) or [number / RATE for number in numbers]
    shots = []
    for number, stamp, image, frame in zip(numbers, stamps, images, frames, strict=True):
        camera = _make_camera({**scene, **frame}) if usable else None
        shots.append(Shot(number, stamp, image, _find_depth(folder, frame), hold(_read_pose(frame)), camera))
    return shots, notes


def _find_file(folder: Path) -> Path | None:
    return find_first(folder / "transforms.json", folder / "transforms_train.json")


def _find_image(folder: Path, name: str) -> Path:
    path = folder / name.replace("\\", "/")
    return path if path.suffix else next((p for s in IMPLIED if (p := path.with_suffix(s)).is_file()), path)


def _find_depth(folder: Path, frame: Mapping[str, Any]) -> Path | None:
    name = frame.get("depth_file_path") or frame.get("depth_path")
    return folder / str(name).replace("\\", "/") if name else None


def _read_pose(frame: Mapping[str, Any]) -> np.ndarray:
    matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"transform_matrix of shape {matrix.shape}")
    return matrix if len(matrix) == 4 else np.vstack((matrix, [0.0, 0.0, 0.0, 1.0]))


def _make_camera(given: Mapping[str, Any]) -> Camera | None:
    """Make the camera of a frame, whose own values come before those of the scene."""
    size = (int(given["h"]), int(given["w"])) if given.get("h") and given.get("w") else None
    if not given.get("fl_x"):
        return FieldOfView(float(given["camera_angle_x"])) if given.get("camera_angle_x") else None
    if not (given.get("cx") and given.get("cy")):
        return None
    fx, cx, cy = (float(given[key]) for key in ("fl_x", "cx", "cy"))
    return Pinhole(make_intrinsics(fx, float(given.get("fl_y") or fx), cx, cy), size)
