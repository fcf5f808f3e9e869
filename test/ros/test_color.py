"""A reconstruction that needs color images alone: what the node hears, what it waits for, and where it places a robot."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from graph import info_message
from robot import MOUNTED, VIEW, Robot, driven, header, in_map


def test_images_alone_are_enough(graph):
    robot = Robot(graph)
    stamps = [robot.send()]
    robot.see(1)
    assert not robot.poses  # a camera_info or a robot's tree may still turn up
    robot.pass_time()
    robot.pose(stamps[0])
    for _ in range(3):
        stamps.append(robot.send())
        robot.pose(stamps[-1])  # at once
    for stamp in stamps:
        np.testing.assert_allclose(robot.pose(stamp), in_map(stamp), atol=1e-9)
        assert list(robot.edges(stamp)) == ["camera"]
        np.testing.assert_allclose(robot.edges(stamp)["camera"], in_map(stamp), atol=1e-9)
    assert not graph.subscribed("/depth")
    assert robot.focal_lengths() == ["none"] * 4
    graph.until(lambda: graph.diagnosed()[0].startswith("OK"), "all is well", robot.node)


def test_the_first_image_waits_for_a_camera_info_and_later_ones_take_the_newest(graph):
    robot = Robot(graph, odom_frame="camera")  # of TF nothing is waited for
    stamp = robot.send()
    robot.see(1)
    assert not robot.poses

    def informed():
        robot.infos.publish(info_message(VIEW, header(stamp)))
        graph.diagnosed()
        return robot.poses

    graph.until(informed, "the image goes out", robot.node)
    robot.pose(robot.send())
    assert robot.focal_lengths() == ["60.0", "60.0"]


def test_the_map_is_put_above_a_robots_odometry(graph):
    """REP-105: the robot says odom -> base -> camera, the node map -> odom, and the chain is the estimated pose."""
    robot = Robot(graph)
    robot.inform()
    robot.mount()
    for number in range(1, 5):
        stamp = robot.send()
        robot.see(number)
        assert len(robot.poses) == number - 1  # the image waits for the transform of its stamp
        robot.drive(stamp)
        np.testing.assert_allclose(robot.pose(stamp), in_map(stamp), atol=1e-9)
        assert list(robot.edges(stamp)) == ["odom"]
        chain = robot.edges(stamp)["odom"] @ driven(stamp) @ MOUNTED
        np.testing.assert_allclose(chain, in_map(stamp), atol=1e-9)
    assert "no TF" not in robot.node.text


def test_a_robot_without_odometry_is_placed_by_its_root(graph):
    robot = Robot(graph)
    robot.mount()
    stamp = robot.send()
    robot.pass_time()
    np.testing.assert_allclose(robot.pose(stamp), in_map(stamp), atol=1e-9)
    assert list(robot.edges(stamp)) == ["base"]
    np.testing.assert_allclose(robot.edges(stamp)["base"] @ MOUNTED, in_map(stamp), atol=1e-9)


def test_an_odometry_frame_without_odometry_is_told_and_poses_go_on(graph):
    robot = Robot(graph, odom_frame="odom")

    def told():
        stamp = robot.send()
        robot.pass_time()
        np.testing.assert_allclose(robot.pose(stamp), in_map(stamp), atol=1e-9)
        return "no TF is published: map -> odom" in graph.diagnosed()[0]

    graph.until(told, "the missing TF is told", robot.node)
