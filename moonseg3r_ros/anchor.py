"""Which frame map -> it may place: the root of the camera's own tree, so that no frame gets a second parent (REP-105)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from moonseg3r_core import MoonSeg3RError, Parts
from moonseg3r_ros.settings import NodeSettings
from moonseg3r_ros.voice import Voice

IDENTITY = np.eye(4)
NOTHING = "", IDENTITY
LONGEST = 100  # frames from a camera to its root


class Anchor:
    """Learns the robot's tree from TF alone, and leaves out what this node said itself.

    `lookup(target, source, stamp)` gives target_from_source (4, 4), or raises MoonSeg3RError. With `moving` False only
    static transforms are heard, and a root that they lead to may be placed by somebody else.
    """

    def __init__(
        self, settings: NodeSettings, moving: bool, lookup: Callable[[str, str, float], np.ndarray], voice: Voice
    ) -> None:
        self.settings, self.moving, self.voice = settings, moving, voice
        self._lookup = lookup
        self._parents: dict[str, str] = {}
        self._said = settings.odom_frame

    def hear(self, transforms: list[Any]) -> list[Any]:
        """Those of stamped transforms that others have said."""
        ours = self.settings.map_frame, self._said
        theirs = [t for t in transforms if (named(t.header.frame_id), named(t.child_frame_id)) != ours]
        self._parents |= {named(t.child_frame_id): named(t.header.frame_id) for t in theirs}
        return theirs

    def of(self, parts: Parts) -> tuple[str, np.ndarray]:
        """The frame to place and that frame from the camera (4, 4): odom_frame, else the root above the camera, which may
        be the camera itself; "" where the tree has the camera in the map already, or not enough is known.
        """
        camera, map_frame = camera_of(parts), self.settings.map_frame
        if self.settings.odom_frame:
            return self._placed(self.settings.odom_frame, camera, parts.stamp)
        line = self._line(camera)
        if len(line) == 1 or line[1] == map_frame:
            return camera, IDENTITY
        if map_frame in line:
            return NOTHING
        if not self.moving:
            self.voice.say("tf", f"no TF is published: '{camera}' has the parent '{line[1]}'; set odom_frame")
            return NOTHING
        self._said = line[-1]
        return self._placed(self._said, camera, parts.stamp)

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


def camera_of(parts: Parts) -> str:
    """The camera's frame, as TF spells it."""
    return named(parts.image.header.frame_id) or "camera"


def named(frame: str) -> str:
    """A frame's name without the leading slash of older drivers."""
    return frame.lstrip("/")
