"""The tree of frames that other nodes publish, and what it says of the camera at an image's stamp."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moonseg3r_core import FrameMessages, MoonSeg3RError, convert_axes
from moonseg3r_ros.conversions.times import SECOND, read_time

ODOMETRY = "odom"  # below the map by REP-105
MAX_DEPTH = 100  # frames from a camera to its root
MAX_EDGES = 1000
OWNER_TIMEOUT_S = 10.0  # without its edge, until localization counts as gone

Lookup = Callable[[str, str, float], np.ndarray]


@dataclass(frozen=True)
class CameraTransforms:
    """What other nodes say on TF at an image's stamp. Poses are parent_from_child (4, 4); None where TF has none.

    camera: its frame; root: the root of its own tree, below the map; is_root_free: no other node places the root;
    is_map_owned: other nodes place frames in the map; world: the frame of external poses, or "". map_from_odometry is the
    correction of odometry, as localization publishes it.
    """

    camera: str
    root: str
    root_from_camera: np.ndarray | None
    is_root_free: bool
    is_map_owned: bool
    map_from_camera: np.ndarray | None
    map_from_odometry: np.ndarray | None
    world: str
    map_from_world: np.ndarray | None


class RobotTree:
    """Learns the edges of TF that other nodes publish.

    `lookup(target, source, stamp)` returns target_from_source (4, 4) or raises MoonSeg3RError. `is_own` is True for a
    transform that this node published.
    """

    def __init__(self, map_frame: str, odom_frame: str, lookup: Lookup, is_own: Callable[[Any], bool]) -> None:
        self.map_frame, self.odom_frame = strip_slash(map_frame), strip_slash(odom_frame)
        self._lookup, self._is_own = lookup, is_own
        self._edges: dict[str, tuple[str, float]] = {}  # child: its parent, and the newest stamp in seconds
        self.newest_stamp = -math.inf  # of moving edges, seconds

    def filter_transforms(self, transforms: Iterable[Any], static: bool) -> list[Any]:
        """Learn stamped transforms; return those of other nodes."""
        theirs = [transform for transform in transforms if not self._is_own(transform)]
        for transform in theirs:
            self._learn(transform, static)
        return theirs

    def rewind(self, now: float) -> None:
        """Forget stamps after `now`, seconds, to which time jumped back; edges stay."""
        self.newest_stamp = now
        self._edges = {
            c: (p, newest if newest == math.inf else min(newest, now)) for c, (p, newest) in self._edges.items()
        }

    def locate(self, messages: FrameMessages, world: str) -> CameraTransforms:
        """Return what TF says of an image's camera; `world` is the frame of external poses, or ""."""
        camera, stamp = get_camera_frame(messages.image), messages.stamp
        root, is_owned = self._find_root(camera, stamp), self.is_map_owned(stamp)
        return CameraTransforms(
            camera=camera,
            root=root,
            root_from_camera=self._look_up(root, camera, stamp),
            is_root_free=not self.has_parent(root, stamp),
            is_map_owned=is_owned,
            map_from_camera=self._look_up(self.map_frame, camera, stamp) if is_owned else None,
            map_from_odometry=self._look_up(self.map_frame, root, stamp) if is_owned and is_odometry(root) else None,
            world=world,
            map_from_world=self._look_up(self.map_frame, world, stamp) if is_owned and world else None,
        )

    def is_ready(self, image: Any, stamp: float, early: bool) -> bool:
        """True when waiting would not tell `locate` more about an image at this stamp, seconds.

        In the `early` first second the tree may still grow, up to where a robot's odometry begins.
        """
        camera = get_camera_frame(image)
        root = self._find_root(camera, stamp)
        if early and root not in (self.odom_frame, ODOMETRY) and not self.is_map_owned(stamp):
            return False
        return root == camera or self._look_up(root, camera, stamp) is not None

    def is_map_owned(self, stamp: float) -> bool:
        """True when another node publishes where frames are in the map."""
        return any(parent == self.map_frame and not _is_gone(newest, stamp) for parent, newest in self._edges.values())

    def has_parent(self, child: str, stamp: float) -> bool:
        """True when another node publishes the edge of this child."""
        parent, newest = self._edges.get(child, ("", -math.inf))
        return bool(parent) and not (parent == self.map_frame and _is_gone(newest, stamp))

    def _learn(self, transform: Any, static: bool) -> None:
        stamp = math.inf if static else read_time(transform.header.stamp) / SECOND
        child, parent = strip_slash(transform.child_frame_id), strip_slash(transform.header.frame_id)
        self._edges.pop(child, None)
        self._edges[child] = parent, stamp
        if not static:
            self.newest_stamp = max(self.newest_stamp, stamp)
        if len(self._edges) > MAX_EDGES:
            del self._edges[next(iter(self._edges))]

    def _find_root(self, camera: str, stamp: float) -> str:
        """Find the frame that the map may place: odom_frame, else the last ancestor of the camera below the map."""
        if self.odom_frame:
            return self.odom_frame
        frames = [camera]
        while self.has_parent(frames[-1], stamp) and len(frames) < MAX_DEPTH:
            parent = self._edges[frames[-1]][0]
            if parent == self.map_frame:
                break
            frames.append(parent)
        return frames[-1] if len(frames) < MAX_DEPTH else camera

    def _look_up(self, target: str, source: str, stamp: float) -> np.ndarray | None:
        if target == source:
            return np.eye(4)
        try:
            return self._lookup(target, source, stamp)
        except MoonSeg3RError:
            return None


def use_optical_axes(transforms: CameraTransforms, axes: str) -> CameraTransforms:
    """Place the camera's optical axes where TF places a frame with these `axes` (input.camera_axes)."""
    return replace(
        transforms,
        root_from_camera=_convert(transforms.root_from_camera, axes),
        map_from_camera=_convert(transforms.map_from_camera, axes),
    )


def _convert(pose: np.ndarray | None, axes: str) -> np.ndarray | None:
    return None if pose is None else convert_axes(pose, axes)


def is_odometry(frame: str) -> bool:
    """True for a frame of odometry by its name."""
    return ODOMETRY in frame


def _is_gone(newest: float, stamp: float) -> bool:
    """True for an edge that has not come for OWNER_TIMEOUT_S at a stamp, seconds."""
    return stamp - newest > OWNER_TIMEOUT_S


def get_camera_frame(image: Any) -> str:
    """Return the frame of an image message's camera, as TF spells it."""
    return strip_slash(image.header.frame_id) or "camera"


def strip_slash(frame: str) -> str:
    """Remove the leading slash of older drivers."""
    return frame.lstrip("/")
