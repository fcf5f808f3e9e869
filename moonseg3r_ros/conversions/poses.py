"""Headers and poses as messages. Poses are parent_from_child (4, 4) float64 arrays, metres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3
from std_msgs.msg import Header

from moonseg3r_core import Instance, quaternion_from_rotation
from moonseg3r_ros.conversions.buffers import copy_with

# REP-103: a body looks along x with y to the left and z up; a camera along z with x to the right and y down.
BODY_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def make_header(stamp: Time, frame_id: str) -> Header:
    """Make a header of a stamp and a frame."""
    return Header(stamp=stamp, frame_id=frame_id)


def make_pose(pose: np.ndarray) -> Pose:
    """Make a message of a pose, with a unit quaternion."""
    return Pose(position=_make_point(pose[:3, 3].tolist()), orientation=_make_quaternion(pose))


def make_transform(header: Header, child: str, parent_from_child: np.ndarray) -> TransformStamped:
    """Make a TF message of the pose of the frame `child` in the header's frame."""
    x, y, z = parent_from_child[:3, 3].tolist()
    transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=_make_quaternion(parent_from_child))
    return TransformStamped(header=header, child_frame_id=child, transform=transform)


def compute_map_from_world(world_from_camera: np.ndarray) -> np.ndarray:
    """Compute map_from_world for a map with its origin in this camera: x forward, y left, z up (REP-103)."""
    return BODY_FROM_OPTICAL @ np.linalg.inv(world_from_camera)


def make_map_points(points: Sequence[Sequence[float]], map_from_world: np.ndarray) -> list[Point]:
    """Transform world points (K, 3) into points of the map."""
    world = np.array(points, dtype=np.float64).reshape(-1, 3)
    return [_make_point(xyz) for xyz in (world @ map_from_world[:3, :3].T + map_from_world[:3, 3]).tolist()]


def make_box_poses(instances: Sequence[Instance], map_from_world: np.ndarray) -> list[Pose]:
    """Make the pose of each instance's box in the map. Its sides are parallel to the world's axes."""
    centers = [[(a + b) / 2 for a, b in zip(i.box_min, i.box_max, strict=True)] for i in instances]
    rotation = _make_quaternion(map_from_world)
    blank = Pose()
    return [
        copy_with(blank, position=point, orientation=rotation) for point in make_map_points(centers, map_from_world)
    ]


def compute_box_size(instance: Instance) -> tuple[float, float, float]:
    """Compute the sides of an instance's box, metres."""
    x, y, z = (high - low for low, high in zip(instance.box_min, instance.box_max, strict=True))
    return x, y, z


def _make_point(xyz: Sequence[float]) -> Point:
    return Point(x=xyz[0], y=xyz[1], z=xyz[2])


def _make_quaternion(pose: np.ndarray) -> Quaternion:
    x, y, z, w = quaternion_from_rotation(torch.tensor(pose[:3, :3], dtype=torch.float64)).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)
