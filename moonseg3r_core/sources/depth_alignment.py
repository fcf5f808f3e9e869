"""Tell whether depth is registered to the colour image, and what registers it where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from moonseg3r_core.errors import MoonSeg3RError
from moonseg3r_core.sources.registration import resize_intrinsics
from moonseg3r_core.sources.transforms import clean_frame

SAME_PX, SAME_SHARE = (
    0.5,
    0.002,
)  # the entries of two camera matrices that are one camera's: pixels, or a share of the width
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

    Depth of the colour's own frame is, unless its camera_info is that of another camera in the same place.
    frames, infos: header.frame_id and CameraInfo of colour and of depth; topic: of the depth;
    lookup(target, source): target_from_source (4, 4), or raises MoonSeg3RError. Raises DepthUnaligned.
    """
    color, depth = (clean_frame(frame) for frame in frames)
    if infos[1] is not None and color != depth and clean_frame(infos[1].header.frame_id) == color:
        infos = infos[0], None  # the colour's: both images have one camera_info beside them
    same = is_same_camera(*infos)
    if color == depth or not color or not depth:
        return DepthCamera(infos[1], np.eye(4), rectified) if same is False and not is_registered(topic) else None
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
    """True when two CameraInfos have the same view, as those of depth registered to colour have; None: unknown.

    The second one may be of a smaller or larger image.
    """
    if one is None or other is None or not (_is_calibrated(one) and _is_calibrated(other)):
        return None
    sizes = (one.height, one.width), (other.height, other.width)
    ours, theirs = (np.asarray(info.k, dtype=float).reshape(3, 3) for info in (one, other))
    return bool(
        np.abs(resize_intrinsics(theirs, sizes[1], sizes[0]) - ours).max() < max(SAME_PX, SAME_SHARE * one.width)
    )


def _is_calibrated(info: Any) -> bool:
    return bool(info.height and info.width and info.k[0] > 0)
