"""The camera's path as a message."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import Header
from torch import Tensor

from moonseg3r_core import Geometry, move_poses
from moonseg3r_ros.conversions.poses import make_header, make_pose
from moonseg3r_ros.conversions.times import make_time


class CameraPath:
    """Poses of the camera in the segmenter's world, where their key views have them now.

    There are at most `length`: a longer path keeps every second one. Held frames have none.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []  # ns
        self._poses: list[Tensor] = []  # world_from_camera (4, 4)
        self._anchors: list[int] = []
        self._messages: list[PoseStamped] = []  # of the first poses, in `_placed`
        self._placed: tuple[str, bytes] = "", b""
        self._step, self._count = 1, 0

    def follow(self, stamp_ns: int, geometry: Geometry, length: int) -> None:
        """Move the path with the key views that a frame corrects, and add the frame's pose."""
        if len(geometry.corrections):
            self._poses, self._messages = move_poses(self._poses, self._anchors, geometry.corrections), []
        if not geometry.held:
            self._add(stamp_ns, geometry)
        if len(self._poses) > length:
            self._thin()

    def make_message(self, header: Header, map_from_world: np.ndarray) -> Path:
        """Make the path in the header's frame."""
        placed = header.frame_id, map_from_world.tobytes()
        if placed != self._placed:
            self._placed, self._messages = placed, []
        made = len(self._messages)
        for stamp_ns, pose in zip(self._stamps[made:], self._poses[made:], strict=True):
            stamped = make_header(make_time(stamp_ns), header.frame_id)
            self._messages.append(PoseStamped(header=stamped, pose=make_pose(map_from_world @ pose.numpy())))
        return Path(header=header, poses=self._messages)

    def _add(self, stamp_ns: int, geometry: Geometry) -> None:
        if self._count % self._step == 0:
            self._stamps.append(stamp_ns)
            self._poses.append(geometry.world_from_camera.cpu())
            self._anchors.append(geometry.anchor)
        self._count += 1

    def _thin(self) -> None:
        self._stamps, self._poses, self._anchors = self._stamps[::2], self._poses[::2], self._anchors[::2]
        self._messages, self._step = self._messages[::2], 2 * self._step
