"""Which frame map -> it may place: the root of the camera's own tree, so that no frame gets a second parent (REP-105)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from moonseg3r_core import FrameMessages, MoonSeg3RError
from moonseg3r_ros.diagnostics.throttled_warnings import Voice
from moonseg3r_ros.settings import NodeSettings

IDENTITY = np.eye(4)
NOTHING = "", IDENTITY
ODOMETRY = "odom"  # below the map by REP-105
LONGEST = 100  # frames from a camera to its root


class Anchor:
    """Learns the robot's tree from TF alone, and leaves out what this node said itself.

    `lookup(target, source, stamp)` gives target_from_source (4, 4), or raises MoonSeg3RError. With `given` poses a
    camera right below the map is placed by somebody else, who says the same.
    """

    def __init__(
        self, settings: NodeSettings, given: bool, lookup: Callable[[str, str, float], np.ndarray], voice: Voice
    ) -> None:
        self.settings, self.given, self.voice = settings, given, voice
        self._lookup = lookup
        self._parents: dict[str, str] = {}
        self._said = {settings.odom_frame}

    def hear(self, transforms: list[Any]) -> list[Any]:
        """Those of stamped transforms that others have said."""
        theirs = [transform for transform in transforms if not self._is_ours(transform)]
        self._parents |= {named(t.child_frame_id): named(t.header.frame_id) for t in theirs}
        return theirs

    def of(self, parts: FrameMessages) -> tuple[str, np.ndarray]:
        """The frame to place and that frame from the camera (4, 4): odom_frame, else the root above the camera, which may
        be the camera itself; "" where the tree has the camera in the map already, or not enough is known.
        """
        camera = camera_of(parts.image)
        child = self._child(camera)
        if child != camera or not self.given:
            self._said.add(child)
        return (child, IDENTITY) if child in ("", camera) else self._placed(child, camera, parts.stamp)

    def is_ready(self, image: Any, stamp: float, early: bool) -> bool:
        """True when waiting would not tell `of` more about an image at this stamp, seconds. In the `early` first second
        the tree may still grow, up to where a robot's odometry begins.
        """
        camera = camera_of(image)
        child = self._child(camera)
        if child == "":
            return True
        if early and child not in (self.settings.odom_frame, ODOMETRY):
            return False
        try:
            self._lookup(child, camera, stamp)
        except MoonSeg3RError:
            return child == camera
        return True

    def _child(self, camera: str) -> str:
        """The frame to place: the camera's own where nobody places it, or the map does; "" where the map is above."""
        if self.settings.odom_frame:
            return self.settings.odom_frame
        line = self._line(camera)
        if len(line) == 1 or line[1] == self.settings.map_frame:
            return camera
        return "" if self.settings.map_frame in line else line[-1]

    def _is_ours(self, transform: Any) -> bool:
        parent, child = named(transform.header.frame_id), named(transform.child_frame_id)
        return parent == self.settings.map_frame and child in self._said

    def _line(self, camera: str) -> list[str]:
        """The camera's frame, its parent, and so on up to the root."""
        line = [camera]
        while line[-1] in self._parents and len(line) < LONGEST:
            line.append(self._parents[line[-1]])
        return line

    def _placed(self, frame: str, camera: str, stamp: float) -> tuple[str, np.ndarray]:
        try:
            return frame, self._lookup(frame, camera, stamp)
        except MoonSeg3RError as error:
            self.voice.say(
                "tf", f"no TF is published: {self.settings.map_frame} -> {frame} needs the camera in it; {error}"
            )
            return NOTHING


def camera_of(image: Any) -> str:
    """The frame of an image message's camera, as TF spells it."""
    return named(image.header.frame_id) or "camera"


def named(frame: str) -> str:
    """A frame's name without the leading slash of older drivers."""
    return frame.lstrip("/")
