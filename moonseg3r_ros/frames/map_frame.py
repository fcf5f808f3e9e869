"""Where the segmenter's world lies in the frame of all that is published."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from moonseg3r_core import FrameMessages
from moonseg3r_ros.conversions.poses import compute_map_from_world
from moonseg3r_ros.frames.robot_tree import CameraTransforms, is_odometry, strip_slash
from moonseg3r_ros.frames.transform_publisher import Edge
from moonseg3r_ros.settings import NodeSettings

JUMP_M, JUMP_DEG = 0.2, 5.0  # from one image to the next; less is an ordinary correction


class MapMove(NamedTuple):
    """A move of the map frame under the robot: what caused it, metres at the camera, and degrees."""

    cause: str
    metres: float
    degrees: float

    def __str__(self) -> str:
        return f"{self.cause} by {self.metres:.2f} m and {self.degrees:.1f} degrees"


class MapFrame:
    """Places the segmenter's world in a frame of TF, and follows what other nodes do with that frame.

    name: map_frame, or own_frame where coordinates do not belong to a map frame of other nodes; from_world (4, 4),
    None before the first image.
    """

    def __init__(self, settings: NodeSettings, own_frame: str) -> None:
        self._map, self._own = strip_slash(settings.map_frame), strip_slash(own_frame)
        self.name = self._map
        self.from_world: np.ndarray | None = None
        self._settings = settings
        self._is_owned = False  # the map frame, by other nodes
        self._given_world = ""  # the frame of external poses
        self._world_from_given = np.eye(4)
        self._map_from_own: np.ndarray | None = None
        self._map_from_odometry: np.ndarray | None = None
        self._held: tuple[str, np.ndarray] = ("", np.eye(4))  # the last root, and frame_from_root

    def follow(self, transforms: CameraTransforms) -> MapMove | None:
        """Follow the map frame of other nodes; return how it moved under the robot, None where it did not."""
        appeared, self._is_owned = transforms.is_map_owned and not self._is_owned, transforms.is_map_owned
        self._follow_world(transforms)
        before, after = self._map_from_odometry, transforms.map_from_odometry
        self._map_from_odometry = before if after is None else after
        if before is None or after is None or self.from_world is None:
            return None
        jump = after @ np.linalg.inv(before)
        camera = transforms.map_from_camera
        metres, degrees = measure_move(jump, after if camera is None else camera)
        if metres < JUMP_M and degrees < JUMP_DEG:
            return None
        if transforms.world == self._map:
            self._world_from_given = self._world_from_given @ np.linalg.inv(jump)
        if self._map_from_own is not None:
            self._map_from_own = jump @ self._map_from_own
        edge = f"{self._map} -> {transforms.root}"
        cause = f"another node publishes {edge} now, other than here" if appeared else f"{edge} jumped"
        return MapMove(cause, metres, degrees)

    def _follow_world(self, transforms: CameraTransforms) -> None:
        """Keep the segmenter's world when external poses come in another frame than before."""
        if transforms.world in ("", self._given_world):
            return
        self._given_world, in_map = transforms.world, transforms.map_from_world
        if in_map is None and is_odometry(transforms.world):
            in_map = self._map_from_odometry
        if self.from_world is not None and (in_map is not None or transforms.world == self._map):
            self._world_from_given = np.linalg.inv(self.from_world) @ (np.eye(4) if in_map is None else in_map)

    def move_pose(self, messages: FrameMessages) -> FrameMessages:
        """Move an external pose into the segmenter's world."""
        return messages if messages.pose is None else replace(messages, pose=self._world_from_given @ messages.pose)

    def place(self, transforms: CameraTransforms, world_from_camera: np.ndarray, is_held: bool) -> np.ndarray:
        """Place the world after an image; return the camera's pose (4, 4) in this frame."""
        if transforms.world:
            self.from_world = self._place_external(transforms, world_from_camera)
        else:
            self.from_world = self._place_estimated(transforms, world_from_camera, is_held)
        pose = self.from_world @ world_from_camera
        root, root_from_camera = transforms.root, transforms.root_from_camera
        if root == transforms.camera or root_from_camera is None:
            return pose
        if is_held and self._held[0] == root:  # the robot's own TF moves the camera on
            return self._held[1] @ root_from_camera
        self._held = root, pose @ np.linalg.inv(root_from_camera)
        if not transforms.is_map_owned and is_odometry(root):
            self._map_from_odometry = self._held[1]
        return pose

    def list_corrections(self, transforms: CameraTransforms) -> list[Edge]:
        """List the edges that hold until the next image: of the robot's root, and of the own frame."""
        edges = []
        if self.name == self._own and self._map_from_own is not None:
            edges.append(Edge(self._map, self.name, self._map_from_own))
        if transforms.is_root_free and transforms.root == self._held[0]:
            edges.append(Edge(self.name, *self._held))
        return edges

    def _place_external(self, transforms: CameraTransforms, world_from_camera: np.ndarray) -> np.ndarray:
        settings, known = self._settings, self.from_world
        if transforms.world == self._map or transforms.map_from_world is not None or not transforms.is_map_owned:
            self.name = self._map
        elif known is None:
            self.name = self._own
        if transforms.world == self._map:
            return np.linalg.inv(self._world_from_given)
        if transforms.map_from_world is not None:
            return transforms.map_from_world @ np.linalg.inv(self._world_from_given)
        if known is not None:
            return known
        return compute_map_from_world(world_from_camera) if settings.map_origin == "first_camera" else np.eye(4)

    def _place_estimated(
        self, transforms: CameraTransforms, world_from_camera: np.ndarray, is_held: bool
    ) -> np.ndarray:
        known = self._choose_origin(transforms, world_from_camera) if self.from_world is None else self.from_world
        if transforms.is_map_owned:
            self.name = self._own
            if self._map_from_own is None and transforms.map_from_camera is not None and not is_held:
                self._map_from_own = transforms.map_from_camera @ np.linalg.inv(known @ world_from_camera)
        elif self.name == self._own:
            map_from_own = np.eye(4) if self._map_from_own is None else self._map_from_own
            known, self._held = map_from_own @ known, (self._held[0], map_from_own @ self._held[1])
            self.name, self._map_from_own = self._map, None
        return known

    def _choose_origin(self, transforms: CameraTransforms, world_from_camera: np.ndarray) -> np.ndarray:
        """Choose from_world (4, 4): as other nodes have the camera in the map, else level by the robot's tree."""
        origin, in_root = self._settings.map_origin, transforms.root_from_camera
        if origin == "world":
            return np.eye(4)
        if transforms.map_from_camera is not None:
            return transforms.map_from_camera @ np.linalg.inv(world_from_camera)
        if origin == "first_camera" or in_root is None or transforms.root == transforms.camera:
            return compute_map_from_world(world_from_camera)
        return in_root @ np.linalg.inv(world_from_camera)


def measure_move(jump: np.ndarray, pose: np.ndarray) -> tuple[float, float]:
    """Measure how far a jump (4, 4) moved what now has this pose (4, 4): metres and degrees."""
    metres = np.linalg.norm(pose[:3, 3] - (np.linalg.inv(jump) @ pose)[:3, 3])
    cosine = np.clip((np.trace(jump[:3, :3]) - 1) / 2, -1, 1)
    return float(metres), float(np.degrees(np.arccos(cosine)))
