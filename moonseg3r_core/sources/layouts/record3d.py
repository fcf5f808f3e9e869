"""Record3D: rgbd/N.jpg, rgbd/N.depth and metadata, as an unpacked .r3d has them, or its export with rgb/ and depth/.

N.depth holds floats (dh, dw) in metres, which the app compresses by LZFSE: the package pyliblzfse reads that where it is
installed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.encodings import convert_to_metres
from moonseg3r_core.sources.files import list_images, read_depth
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import find_first, hold, make_matrix, read_json
from moonseg3r_core.sources.names import parse_numbers

KIND, NAME = "record3d", "Record3D"
DEPTHS = (".npy", ".png", ".tif", ".tiff", ".depth")
LZFSE = b"bvx"  # how each of its blocks begins
PACKED = (
    "depth is compressed by LZFSE and left out; pip install pyliblzfse reads it, or write it as N.npy (float metres)"
)
EXR = "depth as .exr is left out; write it as N.npy (float metres) or N.png (millimetres), or give the app's .r3d, unpacked"


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
    notes: tuple[str, ...] = (EXR,) if any(folder.glob("depth/*.exr")) and not any(shot.depth for shot in shots) else ()
    if find_spec("liblzfse") is None and any(shot.depth and _is_packed(shot.depth) for shot in shots[:1]):
        shots, notes = [replace(shot, depth=None) for shot in shots], (PACKED,)
    size = int(metadata.get("dh") or 256), int(metadata.get("dw") or 192)
    read_own = partial(_read_depth, size=size)
    return Contents(leave_out_incomplete(shots), axes="opengl", read_depth=read_own, notes=notes)


def _is_packed(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(LZFSE)) == LZFSE


def _read_depth(file: Path, scale: float, no_depth: int | None, size: tuple[int, int]) -> Tensor:
    """Read a depth file as the other layouts do, or N.depth. Raises FrameRejected."""
    if file.suffix != ".depth":
        return read_depth(file, scale, no_depth)
    try:
        data = import_module("liblzfse").decompress(file.read_bytes()) if _is_packed(file) else file.read_bytes()
        pixels = np.frombuffer(data, dtype="<f4").reshape(size)
    except Exception as error:  # the package raises what it likes for a file that is cut
        raise FrameRejected(
            "unreadable depth", f"{file.name} must hold {size[0]} x {size[1]} floats, {error}"
        ) from error
    return torch.from_numpy(convert_to_metres(pixels, scale))


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
