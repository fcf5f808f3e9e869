"""Tell whether depth is registered to the colour image, and what registers it where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from moonseg3r_core.errors import MoonSeg3RError
from moonseg3r_core.sources.transforms import clean_frame

SAME_PX = 0.5  # the entries of two camera matrices that are one camera's
REGISTERED = re.compile(r"aligned|registered|depth_to_(rgb|colou?r)")
REMEDY = (
    "take the depth that is registered to the colour (aligned_depth_to_color with align_depth.enable:=true, or"
    " depth_registered), or bring its camera_info and the transform between the two frames (tf_static)"
)


class DepthUnaligned(MoonSeg3RError):
    """Depth lies in another frame than the colour, and what would register it is missing."""


@dataclass(frozen=True)
class DepthCamera:
    """What registers a depth image: its CameraInfo, and color_from_depth (4, 4). rectified: its images are."""

    info: Any
    color_from_depth: np.ndarray
    rectified: bool


def is_registered(topic: str) -> bool:
    """True when the name of a depth topic says that it is registered to the colour image."""
    return bool(REGISTERED.search(topic.lower()))


def find_depth_camera(
    frames: tuple[str, str], topic: str, infos: tuple[Any | None, Any | None], rectified: bool,
    lookup: Callable[[str, str], np.ndarray],
) -> DepthCamera | None:  # fmt: skip
    """Find what registers depth to colour; None where depth is registered already.

    frames, infos: header.frame_id and CameraInfo of colour and of depth; topic: of the depth;
    lookup(target, source): target_from_source (4, 4), or raises MoonSeg3RError. Raises DepthUnaligned.
    """
    color, depth = (clean_frame(frame) for frame in frames)
    if color == depth or not color or not depth:
        return None
    same = is_same_camera(*infos)
    if is_registered(topic) and same is not False:
        return None
    try:
        if infos[0] is None or infos[1] is None:
            missing = "colour" if infos[0] is None else "depth"
            raise DepthUnaligned(f"no camera_info of the {missing} has come")
        return DepthCamera(infos[1], lookup(color, depth), rectified)
    except MoonSeg3RError as why:
        if same:
            return None
        raise DepthUnaligned(
            f"depth lies in frame '{depth}', colour in '{color}', and it cannot be registered: {why}; {REMEDY}"
        ) from why


def is_same_camera(one: Any | None, other: Any | None) -> bool | None:
    """True when two CameraInfos have the same size and matrix, as those of depth registered to colour; None: unknown."""
    if one is None or other is None:
        return None
    same_size = (one.height, one.width) == (other.height, other.width)
    return bool(same_size and np.abs(np.asarray(one.k, dtype=float) - np.asarray(other.k, dtype=float)).max() < SAME_PX)
