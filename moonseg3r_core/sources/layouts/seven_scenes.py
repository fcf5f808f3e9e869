"""7-Scenes: frame-NNNNNN.color.png, .depth.png (millimetres, 65535: none) and .pose.txt in one folder."""

from __future__ import annotations

from pathlib import Path

from moonseg3r_core.sources.layouts.layout import Contents, Pinhole, make_intrinsics
from moonseg3r_core.sources.layouts.numbered import find_info, holds_color, list_parts, make_shots
from moonseg3r_core.sources.registration import resample_depth

KIND, NAME = "7scenes", "7-Scenes"
NO_DEPTH = 65535
SIZE = (480, 640)
# Its page gives the depth camera; 525 is the usual value of the Kinect's color camera.
DEPTH = Pinhole(make_intrinsics(585.0, 585.0, 320.0, 240.0), SIZE)
COLOR = Pinhole(make_intrinsics(525.0, 525.0, 320.0, 240.0), SIZE)
NOTE = "7-Scenes comes without a calibration; a Kinect's is taken (focal lengths: color 525, depth 585 at 640x480)"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return holds_color(folder) and find_info(folder) is None


def read(folder: Path) -> Contents:
    """Read frames by number. Depth is brought to the color's pixels, but for frame-N.depth.proj.png, which is so already."""
    parts = list_parts(folder)
    if any("depth.proj" in files for files in parts.values()):
        return Contents(make_shots(parts, COLOR, "depth.proj"), no_depth=NO_DEPTH, notes=(NOTE,))
    shots = make_shots(parts, COLOR, "depth")
    return Contents(shots, no_depth=NO_DEPTH, depth_camera=DEPTH, register=resample_depth, notes=(NOTE,))
