"""BundleFusion: frame-NNNNNN.color.jpg, .depth.png and .pose.txt, calibrated by info.txt. 3RScan and 12-Scenes are so too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.layouts.layout import Contents, Pinhole
from moonseg3r_core.sources.layouts.numbered import find_info, holds_color, list_parts, make_shots
from moonseg3r_core.sources.layouts.tables import read_text
from moonseg3r_core.sources.registration import resample_depth

KIND, NAME = "bundlefusion", "BundleFusion"
NOTE = "info.txt places the depth camera elsewhere than the color camera; its extrinsics are ignored"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return holds_color(folder) and find_info(folder) is not None


def read(folder: Path) -> Contents:
    """Read frames by number; a pose that is not finite means none."""
    file = find_info(folder)
    assert file is not None
    info = _read_info(file)
    try:
        scale = float(info.get("m_depthShift", "1000"))
        color, depth = _read_camera(info, "Color"), _read_camera(info, "Depth")
    except ValueError as error:
        raise SourceError(f"{file} must hold sizes and calibrations, got: {error}; copy it again.") from error
    apart = any(
        not np.allclose(_read_matrix(info, f"m_calibration{part}Extrinsic"), np.eye(4)) for part in ("Color", "Depth")
    )
    shots = make_shots(list_parts(folder), color, "depth")
    notes = (NOTE,) if apart else ()
    return Contents(shots, depth_scale=scale, no_depth=65535, depth_camera=depth, register=resample_depth, notes=notes)


def _read_info(file: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in read_text(file).splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read_camera(info: dict[str, str], part: str) -> Pinhole | None:
    key = f"m_calibration{part}Intrinsic"
    if key not in info:
        return None
    lower = part.lower()
    size = int(info.get(f"m_{lower}Height", 0)), int(info.get(f"m_{lower}Width", 0))
    return Pinhole(_read_matrix(info, key)[:3, :3], size if all(size) else None)


def _read_matrix(info: dict[str, str], key: str) -> np.ndarray:
    if key not in info:
        return np.eye(4)
    numbers = np.array([float(word) for word in info[key].split()])
    if numbers.size != 16:
        raise ValueError(f"{key} with {numbers.size} numbers")
    return numbers.reshape(4, 4)
