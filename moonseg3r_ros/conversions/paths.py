"""The camera's path as a message."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import Header

from moonseg3r_ros.conversions.poses import make_header, make_pose
from moonseg3r_ros.conversions.times import make_time


class CameraPath:
    """Poses of the camera in the segmenter's world, at most `length`: a longer path keeps every second one."""

    def __init__(self) -> None:
        self._poses: list[tuple[int, np.ndarray]] = []  # stamp, ns, and world_from_camera
        self._messages: list[PoseStamped] = []  # of the first poses, in `_placed`
        self._placed: tuple[str, bytes] = "", b""
        self._step, self._count = 1, 0

    def add(self, stamp_ns: int, world_from_camera: np.ndarray, length: int) -> None:
        """Add the pose (4, 4) at a stamp."""
        if self._count % self._step == 0:
            self._poses.append((stamp_ns, world_from_camera))
        self._count += 1
        if len(self._poses) > length:
            self._poses, self._messages, self._step = self._poses[::2], self._messages[::2], 2 * self._step

    def make_message(self, header: Header, map_from_world: np.ndarray) -> Path:
        """Make the path in the header's frame."""
        placed = header.frame_id, map_from_world.tobytes()
        if placed != self._placed:
            self._placed, self._messages = placed, []
        for stamp_ns, pose in self._poses[len(self._messages) :]:
            stamped = make_header(make_time(stamp_ns), header.frame_id)
            self._messages.append(PoseStamped(header=stamped, pose=make_pose(map_from_world @ pose)))
        return Path(header=header, poses=self._messages)
