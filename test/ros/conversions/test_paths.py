"""The camera's path: each pose follows the key view that it hangs on, and a long path keeps every second pose."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from dataclasses import replace

import numpy as np
import torch
from std_msgs.msg import Header

from moonseg3r_core import Geometry
from moonseg3r_core.types import Corrections, Held
from moonseg3r_ros.conversions.paths import CameraPath

HEADER, PLACED = Header(frame_id="map"), np.eye(4)


def shift(x):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    return pose


def see(x, anchor, held=None, **moves):
    """A frame at `x` on an anchor; moves: _3=0.5 moves the anchor 3 by half a metre."""
    corrections = Corrections.empty()
    if moves:
        anchors = torch.tensor([int(name[1:]) for name in moves])
        corrections = Corrections(anchors, torch.stack([shift(x) for x in moves.values()]))
    return replace(
        Geometry.empty(), world_from_camera=shift(x), anchor=anchor, corrections=corrections, held=held and Held(held)
    )


def list_xs(path):
    return [pose.pose.position.x for pose in path.make_message(HEADER, PLACED).poses]


def test_poses_follow_their_key_views_and_new_ones_are_where_they_are():
    path = CameraPath()
    for t, frame in enumerate([see(0.0, 1), see(1.0, 1), see(2.0, 2)]):
        path.follow(t, frame, 100)
    assert list_xs(path) == [0, 1, 2]
    path.follow(3, see(3.5, 2, _2=0.5), 100)
    assert list_xs(path) == [0, 1, 2.5, 3.5]
    path.follow(4, see(3.5, 2, "dark", _1=-1.0, _9=7.0), 100)
    assert list_xs(path) == [-1, 0, 2.5, 3.5], "a held frame moves the others and adds none"


def test_a_pose_stays_rigid_where_the_scale_of_its_key_view_changes():
    path = CameraPath()
    path.follow(0, see(1.0, 1), 100)
    scaled = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    path.follow(1, replace(see(3.0, 2), corrections=Corrections(torch.tensor([1]), scaled[None])), 100)
    assert list_xs(path) == [2, 3]
    assert path.make_message(HEADER, PLACED).poses[0].pose.orientation.w == 1


def test_a_longer_path_keeps_every_second_pose_and_its_key_view():
    path = CameraPath()
    for t in range(5):
        path.follow(t, see(float(t), t + 1), 4)
    assert list_xs(path) == [0, 2, 4]
    path.follow(5, see(5.0, 6, _2=9.0, _3=0.5), 4)
    assert list_xs(path) == [0, 2.5, 4]
    assert [pose.header.stamp.nanosec for pose in path.make_message(HEADER, PLACED).poses] == [0, 2, 4]
