"""Where a camera is: the chain of transforms from a fixed world frame, learned as messages pass."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.sources.transforms import TransformBuffer, TransformError

WORLDS = ("map", "world", "odom")  # REP 105 and custom; else the root of the camera's tree


class CameraPoses:
    """world_from_camera at a stamp. The world frame is as asked, else chosen at the first use and then kept.

    Where a chain of static transforms ends the robot's body begins, which is no world: odometry is yet to come.
    """

    def __init__(self, world: str | None) -> None:
        self.world = world.lstrip("/") if world else None
        self.buffer = TransformBuffer()
        self.camera: str | None = None
        self.children: dict[str, str] = {}

    def add_transform(self, parent: str, child: str, stamp: float, pose: np.ndarray, static: bool) -> None:
        """Learn an edge of the tree; a frame that a pose topic places is left to that topic."""
        if child.lstrip("/") not in self.children.values():
            self.buffer.add(parent, child, stamp, pose, static)

    def add_pose(self, topic: str, parent: str, child: str, stamp: float, pose: np.ndarray) -> None:
        """Learn a pose topic's message; one that names no child is the camera's own pose."""
        if not child:
            child = self.camera = f"camera of {topic.lstrip('/')}"
        self.children[topic] = child.lstrip("/")
        self.buffer.add(parent or "world", child, stamp, pose)

    def has_best_world(self, image_frame: str) -> bool:
        """True when the first choice of a world leads to the camera: no transform still to come offers a better one."""
        return WORLDS[0] in self._list_ancestors(image_frame)

    def choose_world(self, image_frame: str) -> None:
        """Choose the world frame from what is known of the image's frame by now; nothing known, nothing chosen."""
        line = self._list_ancestors(image_frame)
        named = next((name for name in WORLDS if name in line), None)
        if self.world is None and (named or self.buffer.is_moving(line[0])):
            self.world = named or line[-1]

    def lookup(self, image_frame: str, stamp: float) -> np.ndarray:
        """world_from_camera (4, 4). Raises TransformError, which says what is missing."""
        frame = self.camera or image_frame
        if self.world is None:
            raise TransformError(f"{self._explain_missing_world(frame)}; known frames: {self.buffer.describe_frames()}")
        return self.buffer.lookup(self.world, frame, stamp)

    def _explain_missing_world(self, frame: str) -> str:
        line = self.buffer.list_ancestors(frame)
        if len(line) == 1:
            return f"no transform leads to the camera's frame '{frame}'"
        return f"nothing tells where '{line[-1]}' is, to which the camera's frame '{frame}' is fixed"

    def _list_ancestors(self, image_frame: str) -> list[str]:
        return self.buffer.list_ancestors(self.camera or image_frame)
