"""7-Scenes: frame-NNNNNN.color.png, .depth.png (millimetres, 65535: none) and .pose.txt in one folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from moonseg3r_core.sources.layouts.agreement import Convention, find_better
from moonseg3r_core.sources.layouts.layout import Contents, Pinhole, make_intrinsics
from moonseg3r_core.sources.layouts.numbered import find_info, holds_color, list_parts, make_shots
from moonseg3r_core.sources.layouts.tables import read_calibration
from moonseg3r_core.sources.registration import resample_depth

KIND, NAME = "7scenes", "7-Scenes"
NO_DEPTH = 65535
SCALE = 1000.0
SIZE = (480, 640)
# Its page gives the depth camera; 525 is the usual value of the Kinect's color camera.
DEPTH = Convention(Pinhole(make_intrinsics(585.0, 585.0, 320.0, 240.0), SIZE), np.eye(4))
COLOR = Convention(Pinhole(make_intrinsics(525.0, 525.0, 320.0, 240.0), SIZE), np.eye(4))
NOTE = "7-Scenes comes without a calibration; a Kinect's is taken (at 640x480 focal lengths of 525 for color, 585 for depth); write fx fy cx cy of the images to calibration.txt if they are others"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return holds_color(folder) and find_info(folder) is None


def read(folder: Path) -> Contents:
    """Read frames by number. The original depth is that of a camera of its own, and brought to the color's pixels.

    frame-N.depth.proj.png, depth beside a calibration of the user's, and the depth of some copies are so already: for the last, the depth images decide. Where
    they do not tell, depth stays as it is, with the intrinsics of the depth camera.
    """
    parts = list_parts(folder)
    part = "depth.proj" if any("depth.proj" in files for files in parts.values()) else "depth"
    if (own := read_calibration(folder)) is not None:
        return Contents(make_shots(parts, Pinhole(own), part), no_depth=NO_DEPTH)
    shots = make_shots(parts, COLOR.camera, part)
    found = COLOR if part == "depth.proj" or not any(shot.depth for shot in shots) else None
    found = found or find_better(shots, SCALE, NO_DEPTH, DEPTH, COLOR)
    if found is DEPTH:
        return Contents(shots, no_depth=NO_DEPTH, depth_camera=DEPTH.camera, register=resample_depth, notes=(NOTE,))
    if found is None:
        shots = [replace(shot, camera=DEPTH.camera) for shot in shots]
    return Contents(shots, no_depth=NO_DEPTH, notes=(NOTE,))
