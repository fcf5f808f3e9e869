"""Folders whose frames are frame-NNNNNN.color, .depth and .pose side by side: 7-Scenes, BundleFusion, 3RScan, 12-Scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from moonseg3r_core.sources.layouts.layout import RATE, Pinhole, Shot, leave_out_incomplete
from moonseg3r_core.sources.layouts.tables import read_finite_pose, read_text

FILE = re.compile(r"frame-(\d+)(?:\.rendered)?\.(color|depth\.proj|depth|pose)\.(jpg|jpeg|png|pgm|txt)", re.IGNORECASE)
INFO = ("info.txt", "_info.txt")


def list_parts(folder: Path) -> dict[int, dict[str, Path]]:
    """List the files of each frame by number and part: color, depth, depth.proj, pose."""
    parts: dict[int, dict[str, Path]] = {}
    for file in folder.iterdir():
        if match := FILE.fullmatch(file.name):
            parts.setdefault(int(match[1]), {})[match[2].lower()] = file
    return dict(sorted(parts.items()))


def holds_color(folder: Path) -> bool:
    """Return whether a folder holds color images of this naming."""
    return any((match := FILE.fullmatch(file.name)) and match[2].lower() == "color" for file in folder.iterdir())


def find_info(folder: Path) -> Path | None:
    """Find the file of calibrations, beside the frames or above them."""
    files = (place / name for place in (folder, folder.parent) for name in INFO)
    return next((file for file in files if file.is_file() and "m_calibration" in read_text(file)), None)


def make_shots(parts: dict[int, dict[str, Path]], camera: Pinhole | None, depth: str) -> list[Shot]:
    """Make the frames that have a color image; `depth` names the part that holds depth."""
    return leave_out_incomplete(list(_make_shots(parts, camera, depth)))


def _make_shots(parts: dict[int, dict[str, Path]], camera: Pinhole | None, depth: str) -> Iterator[Shot]:
    for number, files in parts.items():
        if "color" in files:
            read_pose = partial(read_finite_pose, files["pose"]) if "pose" in files else None
            yield Shot(number, number / RATE, files["color"], files.get(depth), read_pose, camera)
