"""Where the segmenter's world lies in the frame of all that is published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from moonseg3r_core import FrameMessages, Jump, JumpFollower, PathFollower, TrajectoryMoves, TransformError
from moonseg3r_ros.conversions.poses import compute_map_from_world
from moonseg3r_ros.frames.robot_tree import CameraTransforms, is_odometry, strip_slash
from moonseg3r_ros.frames.transform_publisher import Edge
from moonseg3r_ros.settings import NodeSettings


class MapMove(NamedTuple):
    """A move of the map frame under the robot: what caused it, metres at the camera, and degrees.

    is_drift: what was placed since the last one moves by degrees, and what was before stays; else all moves.
    """

    cause: str
    metres: float
    degrees: float
    is_drift: bool = False

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
        self._jumps, self._moves = JumpFollower(), TrajectoryMoves.empty()
        self._path, self._newest_path = PathFollower(), None  # the message, that is added once
        self._held: tuple[str, np.ndarray] = ("", np.eye(4))  # the last root, and frame_from_root

    def follow(self, transforms: CameraTransforms, stamp: float = 0.0) -> MapMove | None:
        """Follow the map frame of other nodes; return how it moved under the robot, None where it did not."""
        appeared, self._is_owned = transforms.is_map_owned and not self._is_owned, transforms.is_map_owned
        is_told = self._path.frame is not None and not appeared  # by a path, how the past moves
        self._follow_world(transforms, is_told and self._path.frame == self._map)
        before, after = self._map_from_odometry, transforms.map_from_odometry
        self._map_from_odometry = before if after is None else after
        if after is None:
            return None
        camera = transforms.map_from_camera
        jump = self._jumps.follow(stamp, before, after, after if camera is None else camera)
        if jump is None or is_told or self.from_world is None:
            return None
        is_drift = jump.is_drift and transforms.world != ""
        if is_drift:
            self._correct(transforms, jump)
        elif transforms.world == self._map:
            self._world_from_given = self._world_from_given @ np.linalg.inv(jump.new_from_old)
        if self._map_from_own is not None:
            self._map_from_own = jump.new_from_old @ self._map_from_own
        edge = f"{self._map} -> {transforms.root}"
        cause = f"another node publishes {edge} now, other than here" if appeared else f"{edge} jumped"
        return MapMove(cause, jump.metres, jump.degrees, is_drift)

    def _correct(self, transforms: CameraTransforms, jump: Jump) -> None:
        """Keep the world where it is in the map; the next frame tells the segmenter how its past has moved."""
        assert self.from_world is not None
        in_map = transforms.map_from_world
        if transforms.world != self._map and in_map is not None:
            self._world_from_given = self._world_from_given @ np.linalg.inv(in_map) @ jump.new_from_old @ in_map
        self._moves = _carry(jump.moves, np.linalg.inv(self.from_world))

    def add_path(self, path: Any, transforms: CameraTransforms) -> None:
        """Add the newest path (nav_msgs/Path) of SLAM, in the frame of given poses or the map; None before the first.

        Raises TransformError for one that cannot be used.
        """
        if path is None or path is self._newest_path:
            return
        self._newest_path, frame, known = path, strip_slash(path.header.frame_id), (transforms.world, self._map)
        if transforms.world and frame not in known:
            names = " or ".join(f"'{name}'" for name in dict.fromkeys(known))
            raise TransformError(f"it lies in frame '{frame}', expected {names}; see world_frame and map_frame")
        self._path.add(path)

    def take_moves(self, transforms: CameraTransforms) -> TrajectoryMoves:
        """Return how poses of former frames were corrected since the last call, in the segmenter's world."""
        jumped, self._moves = self._moves, TrajectoryMoves.empty()
        told = self._path.take_moves()
        if self.from_world is None or not len(told):
            return jumped
        is_given = self._path.frame == transforms.world
        return _carry(told, self._world_from_given if is_given else np.linalg.inv(self.from_world))

    def _follow_world(self, transforms: CameraTransforms, is_still: bool) -> None:
        """Keep the segmenter's world in the map when given poses come in another frame than before, or it `is_still`."""
        if not transforms.world or (transforms.world == self._given_world and not is_still):
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


def _carry(moves: TrajectoryMoves, to: np.ndarray) -> TrajectoryMoves:
    """Carry moves to another frame, which is `to` (4, 4) from theirs."""
    to_other = torch.from_numpy(to)
    return TrajectoryMoves(moves.stamps, to_other @ moves.new_from_old @ torch.linalg.inv(to_other))
