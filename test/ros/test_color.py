"""A reconstruction that needs color images alone: what the node hears, what it waits for, and where it places a robot."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from graph import info_message
from robot import MOUNTED, VIEW, Robot, driven, header, in_map, in_odom

AWAY, TURNED = np.eye(4), np.eye(4)  # map from odom, as localization says it
AWAY[:2, 3] = 5.0, 3.0
TURNED[:2, :2], TURNED[:2, 3] = [[0.0, -1.0], [1.0, 0.0]], (4.0, 3.0)


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
    robot = Robot(graph, odom_frame="camera", correction_source="path")  # of TF nothing is waited for
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
    assert "here they are estimated; correction_source=path has no effect" in robot.node.text
    assert not graph.subscribed("/corrected_path")


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
        np.testing.assert_allclose(robot.pose(stamp), in_odom(stamp), atol=1e-9)
        chain = robot.correction() @ driven(stamp) @ MOUNTED
        np.testing.assert_allclose(chain, in_odom(stamp), atol=1e-9)
    assert {edge.child_frame_id for message in robot.heard for edge in message.transforms} == {"odom", "base"}
    assert "no TF" not in robot.node.text


def test_the_correction_goes_on_while_the_camera_is_away(graph):
    """A look-up at the newest stamp of odometry never asks for a later correction than there is."""
    robot = Robot(graph)
    robot.inform()
    robot.mount()
    stamp = robot.send()
    robot.see(1)
    robot.drive(stamp)
    robot.pose(stamp)
    first = robot.correction()
    for _ in range(3):
        robot.pass_time(5.0)
        robot.drive(round(robot.now * 1e9))
        np.testing.assert_array_equal(robot.correction(), first)


def test_a_node_that_is_told_so_publishes_no_tf(graph):
    robot = Robot(graph, publish_tf=False)
    stamp = robot.send()
    robot.pass_time()
    robot.pose(stamp)
    robot.pass_time()
    assert not robot.heard


def test_a_robot_without_odometry_is_placed_by_its_root(graph):
    robot = Robot(graph)
    robot.mount()
    stamp = robot.send()
    robot.pass_time()
    np.testing.assert_allclose(robot.pose(stamp), MOUNTED, atol=1e-9)
    np.testing.assert_allclose(robot.correction("base"), np.eye(4), atol=1e-9)


def test_localization_comes_jumps_goes_and_comes_back(graph):
    """map -> odom is published by one node at a time; results go on in a frame of their own, placed in the other's map."""
    robot = Robot(graph)
    robot.inform()
    robot.mount()

    def go_on(localization=None):
        """One image with its odometry, and the frame of its pose and that pose."""
        stamp = robot.send()
        robot.see(robot.count)
        if localization is not None:
            robot.localize(localization, stamp)
        robot.drive(stamp)  # for which the image waits
        pose = robot.pose(stamp)
        return robot.poses[-1].header.frame_id, pose

    assert go_on()[0] == "map"
    np.testing.assert_allclose(robot.correction(), np.eye(4), atol=1e-9)
    for place, said in (
        (AWAY, "another node publishes map -> odom now, other than here by"),
        (TURNED, "map -> odom jumped by"),
    ):
        robot.heard.clear()
        frame, pose = go_on(place)
        assert frame == "moonseg3r_map"
        graph.until(lambda said=said: said in robot.node.text, "the move is told", robot.node)
        stamp = robot.stamp()
        np.testing.assert_allclose(robot.correction("moonseg3r_map") @ pose, place @ driven(stamp) @ MOUNTED, atol=0.02)
    assert robot.published().count(("map", "odom")) == 1  # localization's own
    robot.pass_time(12.0)
    robot.skip(12.0)
    assert go_on()[0] == "map"
    last = robot.correction()
    np.testing.assert_allclose(last @ driven(robot.stamp()) @ MOUNTED, robot.pose(robot.stamp()), atol=1e-9)
    assert go_on(AWAY)[0] == "moonseg3r_map"
    robot.heard.clear()
    assert go_on(AWAY)[0] == "moonseg3r_map"
    robot.correction("moonseg3r_map")
    assert robot.published().count(("map", "odom")) == 1
    assert int(graph.diagnosed()[1]["map jumps"]) >= 2


def test_an_odometry_frame_without_odometry_is_told_and_poses_go_on(graph):
    robot = Robot(graph, odom_frame="odom")

    def told():
        stamp = robot.send()
        robot.pass_time()
        np.testing.assert_allclose(robot.pose(stamp), in_map(stamp), atol=1e-9)
        return "no TF is published: map -> odom" in graph.diagnosed()[0]

    graph.until(told, "the missing TF is told", robot.node)
