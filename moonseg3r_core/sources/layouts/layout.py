"""What a layout is: how it is recognised, and what it tells about each frame of a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.files import read_depth
from moonseg3r_core.sources.registration import ASPECT_TOLERANCE, register_depth, resize_intrinsics

RATE = 30.0  # frames per second where a folder holds no times


class Camera(Protocol):
    """Gives the intrinsics (3, 3) float64 of images of a size (H, W), None where they do not fit."""

    def fit(self, size: tuple[int, int]) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Pinhole:
    """Intrinsics (3, 3) float64 for images of `size` (H, W), None: for whatever size the images have."""

    intrinsics: np.ndarray
    size: tuple[int, int] | None = None

    def fit(self, size: tuple[int, int]) -> np.ndarray | None:
        """Return the intrinsics for images of a size; None for another shape: the image was cropped or turned."""
        if self.size is None or self.size == size:
            return self.intrinsics
        ratio = (size[1] / self.size[1]) / (size[0] / self.size[0])
        return None if abs(ratio - 1) > ASPECT_TOLERANCE else resize_intrinsics(self.intrinsics, self.size, size)


@dataclass(frozen=True)
class FieldOfView:
    """A camera with square pixels, known by its horizontal field of view in radians."""

    angle: float

    def fit(self, size: tuple[int, int]) -> np.ndarray | None:
        """Return the intrinsics for images of a size."""
        focal = size[1] / 2 / np.tan(self.angle / 2)
        return make_intrinsics(focal, focal, (size[1] - 1) / 2, (size[0] - 1) / 2)


@dataclass(frozen=True)
class Shot:
    """One frame of a folder.

    image: a file, or the number of a frame of the folder's video. stamp: seconds. read_pose: returns world_from_camera
    (4, 4) float64 with the axes of the contents. fault: why the frame is left out. confidence: an image of the
    depth's size, 0 where depth is not to be trusted.
    """

    index: int
    stamp: float
    image: Path | int
    depth: Path | None = None
    read_pose: Callable[[], np.ndarray] | None = None
    camera: Camera | None = None
    fault: FrameRejected | None = None
    confidence: Path | None = None


def prefer_color(
    k_color: np.ndarray | None, k_depth: np.ndarray | None, color: tuple[int, int], depth: tuple[int, int] | None
) -> np.ndarray | None:
    """Return the color's intrinsics, or those of the depth, resized to the size (H, W) of the color."""
    if k_color is not None or k_depth is None:
        return k_color
    return resize_intrinsics(k_depth, depth or color, color)


@dataclass(frozen=True)
class Contents:
    """What a folder holds: its frames in order and what is common to them.

    axes: of the cameras that the poses place, as `input.camera_axes` has them. depth_scale: depth units in a metre; 0:
    millimetres, or metres in a file of floats. no_depth: the value of a pixel without depth, beside 0. read_depth: reads
    a file, with a scale and no_depth. depth_camera: of depth images that are not registered to the color. register:
    brings depth to the pixels of the color. choose_intrinsics: of the color image, from those of color and depth.
    video: of the frames. intrinsics_help: what to do where intrinsics do not fit. notes: what is said once.
    """

    shots: Sequence[Shot]
    axes: str = "optical"
    depth_scale: float = 0.0
    no_depth: int | None = None
    read_depth: Callable[[Path, float, int | None], Tensor] = read_depth
    depth_camera: Camera | None = None
    register: Callable[..., np.ndarray] = register_depth
    choose_intrinsics: Callable[..., np.ndarray | None] = prefer_color
    video: Path | None = None
    intrinsics_help: str = ""
    notes: tuple[str, ...] = ()


class Layout(Protocol):
    """A module of this package: the layout of one kind of folder."""

    KIND: str  # as in summary.json
    NAME: str  # as users know it

    def recognize(self, folder: Path) -> bool:
        """Return whether a folder has this layout."""
        ...

    def read(self, folder: Path) -> Contents:
        """Read what the folder holds. Raises SourceError for files that break the layout."""
        ...


def make_intrinsics(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Make the intrinsics (3, 3) float64."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def leave_out_incomplete(shots: Sequence[Shot]) -> list[Shot]:
    """Mark the frames that lack the depth or the pose that others have, to be left out and counted."""
    needs = [name for name in ("depth", "read_pose") if any(getattr(shot, name) is not None for shot in shots)]
    return [_check_parts(shot, needs) for shot in shots]


def _check_parts(shot: Shot, needs: Sequence[str]) -> Shot:
    missing = [name for name in needs if getattr(shot, name) is None]
    if not missing or shot.fault:
        return shot
    word = {"depth": "depth image", "read_pose": "pose"}[missing[0]]
    name = shot.image.name if isinstance(shot.image, Path) else f"frame {shot.image}"
    return replace(shot, fault=FrameRejected(f"no {word} belongs to the image", f"{name}; left out"))
