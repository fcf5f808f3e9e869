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


@dataclass(frozen=True)
class LearnedEdge:
    """An edge of another node: its newest stamp and arrival in seconds, inf for a static one.

    was_first: it came before this node published an edge.
    """

    parent: str
    stamp: float
    arrived: float
    was_first: bool

    def is_gone(self, now: float) -> bool:
        """True when it has not come for OWNER_TIMEOUT_S."""
        return now - self.arrived > OWNER_TIMEOUT_S


class RobotTree:
    """Learns the edges of TF that other nodes publish.

    `lookup(target, source, stamp)` returns target_from_source (4, 4) or raises MoonSeg3RError. `is_own` is True for a
    transform that this node published, `has_published` once there was one. Times `now` are seconds of the node's clock.
    """

    def __init__(
        self, map_frame: str, odom_frame: str, lookup: Lookup, is_own: Callable[[Any], bool],
        has_published: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.map_frame, self.odom_frame = strip_slash(map_frame), strip_slash(odom_frame)
        self._lookup, self._is_own, self._has_published = lookup, is_own, has_published
        self._edges: dict[str, LearnedEdge] = {}  # by child
        self._camera = ""  # of the last image

    def filter_transforms(self, transforms: Iterable[Any], now: float, static: bool) -> list[Any]:
        """Learn stamped transforms; return those of other nodes."""
        theirs = [transform for transform in transforms if not self._is_own(transform)]
        for transform in theirs:
            self._learn(transform, now, static)
        return theirs

    def locate(self, messages: FrameMessages, world: str, now: float) -> CameraTransforms:
        """Return what TF says of an image's camera; `world` is the frame of external poses, or ""."""
        camera, stamp = get_camera_frame(messages.image), messages.stamp
        self._camera = camera
        root, is_owned = self._find_root(camera, now), self.is_map_owned(now)
        is_corrected = is_owned and (root == self.odom_frame or is_odometry(root))
        return CameraTransforms(
            camera=camera,
            root=root,
            root_from_camera=self._look_up(root, camera, stamp),
            is_root_free=self.is_free(root, now),
            is_map_owned=is_owned,
            map_from_camera=self._look_up(self.map_frame, camera, stamp) if is_owned else None,
            map_from_odometry=self._look_up(self.map_frame, root, stamp) if is_corrected else None,
            world=world,
            map_from_world=self._look_up(self.map_frame, world, stamp) if is_owned and world else None,
        )

    def is_ready(self, image: Any, stamp: float, early: bool, now: float) -> bool:
        """True when waiting would not tell `locate` more about an image at this stamp, seconds.

        In the `early` first second the tree may still grow, up to where a robot's odometry begins.
        """
        self._camera = camera = get_camera_frame(image)
        root = self._find_root(camera, now)
        if early and root not in (self.odom_frame, ODOMETRY) and not self.is_map_owned(now):
            return False
        return root == camera or self._look_up(root, camera, stamp) is not None

    def is_map_owned(self, now: float) -> bool:
        """True when another node publishes where the camera is in the map, or placed frames there before this node."""
        chain = [*self._list_ancestors(self._camera, now), *self._list_ancestors(self.odom_frame, now)]
        if self.map_frame in chain or self._is_map_below(chain, now):
            return True
        below = [edge for edge in self._edges.values() if edge.parent == self.map_frame]
        return any(edge.was_first and not edge.is_gone(now) for edge in below)

    def is_free(self, child: str, now: float) -> bool:
        """True when this node may publish the edge of a child: no other node does, and no ring comes of it."""
        return not self._has_parent(child, now) and child not in self._list_ancestors(self.map_frame, now)

    def get_newest_stamp(self, now: float) -> float:
        """Return the newest stamp of the edges that move the camera, seconds; -inf where none does."""
        chain = [self._edges[frame] for frame in self._list_ancestors(self._camera, now)[:-1]]
        return max((edge.stamp for edge in chain if edge.arrived != math.inf), default=-math.inf)

    def _learn(self, transform: Any, now: float, static: bool) -> None:
        child, parent = strip_slash(transform.child_frame_id), strip_slash(transform.header.frame_id)
        known = self._edges.pop(child, None)
        was_first = known.was_first if known and known.parent == parent else not self._has_published()
        stamp = read_time(transform.header.stamp) / SECOND or now
        self._edges[child] = LearnedEdge(parent, stamp, math.inf if static else now, was_first)
        if len(self._edges) > MAX_EDGES:
            del self._edges[next(iter(self._edges))]

    def _has_parent(self, child: str, now: float) -> bool:
        edge = self._edges.get(child)
        return edge is not None and not (edge.parent == self.map_frame and edge.is_gone(now))

    def _is_map_below(self, chain: list[str], now: float) -> bool:
        """True when the map hangs below the robot, as below a tag that its camera sees."""
        return any(frame in chain for frame in self._list_ancestors(self.map_frame, now) if frame)

    def _list_ancestors(self, frame: str, now: float) -> list[str]:
        """List a frame, its parent, and so on up to the root, or to where a ring begins."""
        frames = [frame]
        while self._has_parent(frames[-1], now) and len(frames) < MAX_DEPTH:
            parent = self._edges[frames[-1]].parent
            if parent in frames:
                break
            frames.append(parent)
        return frames

    def _find_root(self, camera: str, now: float) -> str:
        """Find the frame that the map may place: odom_frame, else the last ancestor of the camera below the map."""
        if self.odom_frame:
            return self.odom_frame
        frames = self._list_ancestors(camera, now)
        return frames[frames.index(self.map_frame) - 1] if self.map_frame in frames[1:] else frames[-1]

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


def get_camera_frame(image: Any) -> str:
    """Return the frame of an image message's camera, as TF spells it."""
    return strip_slash(image.header.frame_id) or "camera"


def strip_slash(frame: str) -> str:
    """Remove the leading slash of older drivers."""
    return frame.lstrip("/")
