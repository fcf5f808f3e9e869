"""Record3D: rgbd/N.jpg, rgbd/N.depth and metadata, as an unpacked .r3d has them, or its export with rgb/ and depth/.

The app compresses N.depth by LZFSE, which no required package reads; the package pyliblzfse does where it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import find_first, hold, make_matrix, read_json
from moonseg3r_core.sources.names import parse_numbers

KIND, NAME = "record3d", "Record3D"
DEPTHS = (".npy", ".png", ".tif", ".tiff")
NOTE = "depth of Record3D (.depth by LZFSE, .exr) is left out; write it as N.npy (float metres) or N.png (millimetres)"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return _find_metadata(folder) is not None and any((folder / name).is_dir() for name in ("rgbd", "rgb"))


def read(folder: Path) -> Contents:
    """Read image N with pose N and depth N; poses have ARKit's axes, which are OpenGL's."""
    file = _find_metadata(folder)
    assert file is not None
    metadata = read_json(file)
    place = folder / ("rgbd" if (folder / "rgbd").is_dir() else "rgb")
    images = list_images(place)
    images = [image for image in images if image.suffix.lower() in (".jpg", ".jpeg")] or images
    if not images:
        raise SourceError(f"{place} must hold images 0.jpg, 1.jpg and so on, got none.")
    numbers = parse_numbers([image.stem for image in images])
    try:
        shots = [_make_shot(folder, number, image, metadata) for number, image in zip(numbers, images, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceError(f"{file} must hold poses, K, w and h, got: {error!r}; export it again.") from error
    packed = any(
        file.suffix in (".depth", ".exr") for name in ("rgbd", "depth") for file in (folder / name).glob("*.*")
    )
    notes = (NOTE,) if packed and not any(shot.depth for shot in shots) else ()
    return Contents(leave_out_incomplete(shots), axes="opengl", notes=notes)


def _find_metadata(folder: Path) -> Path | None:
    return find_first(folder / "metadata", folder / "metadata.json", folder / "metadata" / "metadata.json")


def _make_shot(folder: Path, number: int, image: Path, metadata: dict[str, Any]) -> Shot:
    stamps, poses = metadata.get("frameTimestamps") or (), metadata.get("poses") or ()
    rate = float(metadata.get("fps") or RATE)
    stamp = float(stamps[number]) if number < len(stamps) else number / rate
    pose = make_matrix(poses[number][4:7], poses[number][:4]) if number < len(poses) else None
    files = (folder / name / f"{image.stem}{suffix}" for name in ("rgbd", "depth") for suffix in DEPTHS)
    return Shot(number, stamp, image, find_first(*files), hold(pose), _make_camera(number, metadata))


def _make_camera(number: int, metadata: dict[str, Any]) -> Pinhole | None:
    """Make the camera of a frame: its own coefficients fx fy cx cy, else K, which is stored by columns."""
    size = (int(metadata["h"]), int(metadata["w"])) if "h" in metadata and "w" in metadata else None
    own = metadata.get("perFrameIntrinsicCoeffs") or ()
    if number < len(own):
        return Pinhole(make_intrinsics(*map(float, own[number][:4])), size)
    if "K" not in metadata:
        return None
    return Pinhole(np.array(metadata["K"], dtype=np.float64).reshape(3, 3).T.copy(), size)
