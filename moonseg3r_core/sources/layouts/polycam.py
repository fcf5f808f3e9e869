"""Polycam's raw export: keyframes/images, keyframes/cameras/N.json, keyframes/depth/N.png (millimetres), as ARKit has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.files import list_images
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, leave_out_incomplete, make_intrinsics
from moonseg3r_core.sources.layouts.tables import find_first, hold, read_json

KIND, NAME = "polycam", "Polycam (keyframes)"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return (folder / "keyframes" / "images").is_dir() and (folder / "keyframes" / "cameras").is_dir()


def read(folder: Path) -> Contents:
    """Read keyframes by name: poses and images corrected by Polycam where they are, else those of the scan."""
    place = folder / "keyframes"
    corrected = "corrected_" if all((place / f"corrected_{name}").is_dir() for name in ("images", "cameras")) else ""
    images = list_images(place / f"{corrected}images")
    if not images:
        raise SourceError(f"{place / f'{corrected}images'} must hold images, got none.")
    shots = [_make_shot(n, image, place, corrected) for n, image in enumerate(images)]
    return Contents(leave_out_incomplete(shots), axes="opengl")


def _make_shot(ordinal: int, image: Path, place: Path, corrected: str) -> Shot:
    depth, confidence = (find_first(place / name / f"{image.stem}.png") for name in ("depth", "confidence"))
    shot = Shot(ordinal, ordinal / RATE, image, depth, confidence=confidence)
    file = place / f"{corrected}cameras" / f"{image.stem}.json"
    if not file.is_file():
        return shot
    given: dict[str, Any] = read_json(file)
    try:
        pose = np.eye(4)
        pose[:3] = [[float(given[f"t_{row}{column}"]) for column in range(4)] for row in range(3)]
        fx, fy, cx, cy = (float(given[key]) for key in ("fx", "fy", "cx", "cy"))
        size = int(given["height"]), int(given["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{file} must hold t_00 to t_23, fx, fy, cx, cy, width and height, got: {error!r}."
        ) from error
    return replace(shot, read_pose=hold(pose), camera=Pinhole(make_intrinsics(fx, fy, cx, cy), size))
