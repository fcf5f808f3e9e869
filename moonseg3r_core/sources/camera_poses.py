"""Look up camera poses in a tree of transforms, below a fixed world frame."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.sources.transforms import TransformBuffer, TransformError

HORIZON_S = 10.0  # of transforms that are kept
WORLDS = ("map", "world", "odom")  # REP 105 and custom; else the root of the camera's tree


class CameraPoses:
    """Gives world_from_camera at a stamp, below the requested world frame or one chosen at the first use.

    The root of a chain of static transforms is the robot's body, not a world: odometry is still missing.
    """

    def __init__(self, world: str | None) -> None:
        self.world = world.lstrip("/") if world else None
        self.buffer = TransformBuffer(HORIZON_S)
        self.camera: str | None = None
        self.children: dict[str, str] = {}

    def add_transform(self, parent: str, child: str, stamp: float, pose: np.ndarray, static: bool) -> None:
        """Add an edge of the tree, unless a pose topic gives the pose of that frame."""
        if child.lstrip("/") not in self.children.values():
            self.buffer.add(parent, child, stamp, pose, static)

    def add_pose(self, topic: str, parent: str, child: str, stamp: float, pose: np.ndarray) -> None:
        """Add a message of a pose topic; without a child frame it is the pose of the camera."""
        if not child:
            child = self.camera = f"camera of {topic.lstrip('/')}"
        self.children[topic] = child.lstrip("/")
        self.buffer.add(parent or "world", child, stamp, pose)

    def has_best_world(self, image_frame: str) -> bool:
        """True when the preferred world leads to the camera, so that later transforms change nothing."""
        return WORLDS[0] in self._list_ancestors(image_frame)

    def choose_world(self, image_frame: str) -> None:
        """Choose the world frame among the known ancestors of the image frame, if there is a candidate."""
        ancestors = self._list_ancestors(image_frame)
        named = next((name for name in WORLDS if name in ancestors), None)
        if self.world is None and (named or self.buffer.is_moving(ancestors[0])):
            self.world = named or ancestors[-1]

    def lookup(self, image_frame: str, stamp: float, patience: float) -> np.ndarray:
        """Return world_from_camera (4, 4).

        The last correction of odometry (map -> odom) holds when the next is late by more than `patience` seconds.
        Raises TransformError with the reason.
        """
        frame = self.camera or image_frame
        if self.world is None:
            raise TransformError(f"{self._explain_missing_world(frame)}; known frames: {self.buffer.describe_frames()}")
        late, child = self.find_late_correction(image_frame, stamp)
        return self.buffer.lookup(self.world, frame, stamp, child if late > patience else None)

    def find_late_correction(self, image_frame: str, stamp: float) -> tuple[float, str | None]:
        """Return how late the correction of odometry is, seconds, and its child; (0, None) where there is none."""
        child = self.buffer.find_correction(self.world, self.camera or image_frame) if self.world else None
        return (self.buffer.compute_age(child, stamp), child) if child else (0.0, None)

    def _explain_missing_world(self, frame: str) -> str:
        ancestors = self.buffer.list_ancestors(frame)
        if len(ancestors) == 1:
            return f"no transform leads to the camera's frame '{frame}'"
        return f"nothing tells where '{ancestors[-1]}' is, to which the camera's frame '{frame}' is fixed"

    def _list_ancestors(self, image_frame: str) -> list[str]:
        return self.buffer.list_ancestors(self.camera or image_frame)
