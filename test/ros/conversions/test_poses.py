"""Stamps, poses and frames as messages: nothing is lost on the way."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from moonseg3r_core.types import Instance
from moonseg3r_ros.conversions.poses import (
    compute_box_size,
    compute_map_from_world,
    make_box_poses,
    make_header,
    make_map_points,
    make_pose,
    make_transform,
)
from moonseg3r_ros.conversions.times import make_time, read_time


def a_pose(turn=(0.3, -1.2, 2.0), at=(1.0, -2.0, 3.0)):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = at
    return pose


def pose_back(position, orientation):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([orientation.x, orientation.y, orientation.z, orientation.w]).as_matrix()
    pose[:3, 3] = position.x, position.y, position.z
    return pose


def an_instance(low=(-1.0, -2.0, -3.0), high=(1.0, 0.0, 1.0)):
    return Instance(7, 30, (0.5, -1.0, 0.0), low, high, 0.75, 0, 9, 3)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 999_999_999))
def test_every_stamp_comes_out_as_it_went_in(seconds, nanoseconds):
    stamp = make_time(seconds * 1_000_000_000 + nanoseconds)
    assert (stamp.sec, stamp.nanosec) == (seconds, nanoseconds)
    assert read_time(stamp) == seconds * 1_000_000_000 + nanoseconds


def test_a_stamp_that_no_float_holds():
    stamp = make_time(1_764_000_123_456_789_123)
    assert (stamp.sec, stamp.nanosec) == (1_764_000_123, 456_789_123)


def test_a_header():
    made = make_header(make_time(5_000_000_001), "map")
    assert (made.stamp.sec, made.stamp.nanosec, made.frame_id) == (5, 1, "map")


def test_the_identity():
    message = make_pose(np.eye(4))
    q = message.orientation
    assert (message.position.x, message.position.y, message.position.z) == (0.0, 0.0, 0.0)
    assert (q.x, q.y, q.z, q.w) == (0.0, 0.0, 0.0, 1.0)


angles = st.tuples(*[st.floats(-3.2, 3.2)] * 3)
places = st.tuples(*[st.floats(-1e4, 1e4)] * 3)


@given(angles, places)
def test_a_pose_comes_back(turn, at):
    pose = a_pose(turn, at)
    message = make_pose(pose)
    np.testing.assert_allclose(pose_back(message.position, message.orientation), pose, rtol=0, atol=1e-12)


def test_a_transform_names_parent_and_child():
    message = make_transform(make_header(make_time(3), "map"), "camera", a_pose())
    assert (message.header.frame_id, message.header.stamp.nanosec, message.child_frame_id) == ("map", 3, "camera")
    back = pose_back(message.transform.translation, message.transform.rotation)
    np.testing.assert_allclose(back, a_pose(), rtol=0, atol=1e-12)


def test_the_first_camera_looks_along_x_of_the_map_with_z_up():
    ahead, right, below = (0.0, 0.0, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)  # of a camera: z, x, y
    world_from_camera = a_pose()
    in_world = [(world_from_camera @ (*point, 1.0))[:3].tolist() for point in (ahead, right, below)]
    points = make_map_points(in_world, compute_map_from_world(world_from_camera))
    found = [(point.x, point.y, point.z) for point in points]
    np.testing.assert_allclose(found, [(2, 0, 0), (0, -1, 0), (0, 0, -1)], atol=1e-12)


def test_the_map_of_the_first_camera_is_a_rigid_frame():
    rotation = compute_map_from_world(a_pose())[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_a_box_keeps_its_size_and_is_turned_with_the_world():
    instance, map_from_world = an_instance(), a_pose()
    (pose,) = make_box_poses([instance], map_from_world)
    assert compute_box_size(instance) == (2.0, 2.0, 4.0)
    corner = pose_back(pose.position, pose.orientation) @ (*(np.array(compute_box_size(instance)) / 2), 1.0)
    np.testing.assert_allclose(corner, map_from_world @ (*instance.box_max, 1.0), atol=1e-12)


def test_no_instances_have_no_boxes():
    assert make_box_poses([], a_pose()) == [] == make_map_points([], a_pose())


def test_quaternions_equal_those_of_tf_transformations():
    theirs = pytest.importorskip("tf_transformations", reason="tf_transformations is not installed")
    for turn in np.random.default_rng(0).normal(size=(100, 3)) * 2:
        q = make_pose(a_pose(turn)).orientation
        expected = np.array(theirs.quaternion_from_matrix(a_pose(turn)))
        expected *= np.sign(expected[3]) or 1.0  # ours has w >= 0
        np.testing.assert_allclose((q.x, q.y, q.z, q.w), expected, atol=1e-12)
        np.testing.assert_allclose(
            theirs.quaternion_matrix([q.x, q.y, q.z, q.w])[:3, :3], a_pose(turn)[:3, :3], atol=1e-12
        )
