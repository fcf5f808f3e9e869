"""The frame that TF map -> frame places: the root of the camera's own tree, so that no frame gets a second parent (REP-105)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from moonseg3r_core import FrameMessages, MoonSeg3RError
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.parameters import ParameterStore

IDENTITY = np.eye(4)
ODOMETRY = "odom"  # below the map by REP-105
MAX_DEPTH = 100  # frames from a camera to its root


class MapFrame:
    """Learns the robot's tree from TF without the transforms of this node.

    `lookup(target, source, stamp)` returns target_from_source (4, 4) or raises MoonSeg3RError. has_external_poses: a
    camera right below the map is then placed by another node.
    """

    def __init__(
        self, parameters: ParameterStore, has_external_poses: bool, lookup: Callable[[str, str, float], np.ndarray],
        warnings: ThrottledWarnings,
    ) -> None:  # fmt: skip
        self.parameters, self.has_external_poses, self.warnings = parameters, has_external_poses, warnings
        self._lookup = lookup
        self._parents: dict[str, str] = {}
        self._published = {parameters.settings.odom_frame}  # children that this node places

    def filter_transforms(self, transforms: list[Any]) -> list[Any]:
        """Learn stamped transforms; return those of other nodes."""
        theirs = [transform for transform in transforms if not self._is_own(transform)]
        self._parents |= {strip_slash(t.child_frame_id): strip_slash(t.header.frame_id) for t in theirs}
        return theirs

    def locate(self, messages: FrameMessages) -> tuple[str, np.ndarray]:
        """Return the frame to place, and that frame from the camera (4, 4).

        The frame is odom_frame, else the root above the camera, which may be the camera itself. It is "" where the camera
        is in the map already, or its transform is unknown.
        """
        camera = get_camera_frame(messages.image)
        child = self._choose_child(camera)
        if child != camera or not self.has_external_poses:
            self._published.add(child)
        return (child, IDENTITY) if child in ("", camera) else self._lookup_child(child, camera, messages.stamp)

    def is_ready(self, image: Any, stamp: float, early: bool) -> bool:
        """True when waiting would not tell `locate` more about an image at this stamp, seconds.

        In the `early` first second the tree may still grow, up to where a robot's odometry begins.
        """
        camera = get_camera_frame(image)
        child = self._choose_child(camera)
        if child == "":
            return True
        if early and child not in (self.parameters.settings.odom_frame, ODOMETRY):
            return False
        try:
            self._lookup(child, camera, stamp)
        except MoonSeg3RError:
            return child == camera
        return True

    def _choose_child(self, camera: str) -> str:
        settings = self.parameters.settings
        if settings.odom_frame:
            return settings.odom_frame
        frames = self._list_ancestors(camera)
        if len(frames) == 1 or frames[1] == settings.map_frame:
            return camera
        return "" if settings.map_frame in frames else frames[-1]

    def _is_own(self, transform: Any) -> bool:
        parent, child = strip_slash(transform.header.frame_id), strip_slash(transform.child_frame_id)
        return parent == self.parameters.settings.map_frame and child in self._published

    def _list_ancestors(self, camera: str) -> list[str]:
        """List the camera's frame, its parent, and so on up to the root."""
        frames = [camera]
        while frames[-1] in self._parents and len(frames) < MAX_DEPTH:
            frames.append(self._parents[frames[-1]])
        return frames

    def _lookup_child(self, frame: str, camera: str, stamp: float) -> tuple[str, np.ndarray]:
        try:
            return frame, self._lookup(frame, camera, stamp)
        except MoonSeg3RError as error:
            map_frame = self.parameters.settings.map_frame
            self.warnings.warn("tf", f"no TF is published: {map_frame} -> {frame} needs the camera in it; {error}")
            return "", IDENTITY


def get_camera_frame(image: Any) -> str:
    """Return the frame of an image message's camera, as TF spells it."""
    return strip_slash(image.header.frame_id) or "camera"


def strip_slash(frame: str) -> str:
    """Remove the leading slash of older drivers."""
    return frame.lstrip("/")
