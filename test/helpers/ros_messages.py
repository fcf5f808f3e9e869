"""ROS messages without ROS: what tests of recordings and of live streams are made of. Times are seconds."""

from __future__ import annotations

import numpy as np
import torch

from moonseg3r_core.sources.bag_reader import TYPES
from moonseg3r_core.sources.transforms import make_pose
from moonseg3r_core.sources.write_bag import make_header, make_transform

SECOND = 10**9


def shift(x: float, turn: float = 0.0) -> np.ndarray:
    """A pose `x` metres along x, turned about z by `turn` radians."""
    return make_pose(np.array([x, 0, 0]), np.array([0, 0, np.sin(turn / 2), np.cos(turn / 2)]))


def flat(value: int | np.ndarray, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, np.uint8), (*size, 3)).copy()


def metres(value: float, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.full(size, round(value * 1000), np.uint16)


def tf(*edges: object) -> object:
    return TYPES.types["tf2_msgs/msg/TFMessage"](list(edges))


def edge(x: float, stamp: float, parent: str = "map", child: str = "camera") -> object:
    return make_transform(torch.from_numpy(shift(x)), round(stamp * SECOND), parent, child)


def pose_stamped(x: float, stamp: float, frame: str = "map") -> object:
    make = TYPES.types
    pose = make["geometry_msgs/msg/Pose"](
        make["geometry_msgs/msg/Point"](x, 0.0, 0.0), make["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    )
    return make["geometry_msgs/msg/PoseStamped"](make_header(round(stamp * SECOND), frame), pose)


def odometry(x: float, stamp: float, child: str) -> object:
    make = TYPES.types
    posed = make["geometry_msgs/msg/PoseWithCovariance"](pose_stamped(x, stamp).pose, np.zeros(36))
    zero = make["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    twist = make["geometry_msgs/msg/TwistWithCovariance"](make["geometry_msgs/msg/Twist"](zero, zero), np.zeros(36))
    return make["nav_msgs/msg/Odometry"](make_header(round(stamp * SECOND), "odom"), child, posed, twist)
