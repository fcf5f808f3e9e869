"""Frames that cannot be used, nets that are not there or know nothing: what a robot gets then, and what its user is told."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from graph import LATCHED, stamp_of
from nano_file import write_nano
from nav_msgs.msg import Path
from robot import MOUNTED, Robot, driven, in_map, in_odom
from sensor_msgs.msg import PointCloud2


def test_while_frames_are_held_odometry_carries_the_robot_on(graph):
    robot = Robot(graph)
    clouds = graph.listen(PointCloud2, "/moonseg3r/cloud")
    paths = graph.listen(Path, "/moonseg3r/path", LATCHED)
    robot.inform()
    robot.mount()
    good = robot.send()
    robot.drive(good)
    robot.pose(good)
    map_from_odom = robot.correction()
    for _ in range(3):
        held = robot.send(black=True)
        robot.drive(held)
        np.testing.assert_allclose(robot.pose(held), map_from_odom @ driven(held) @ MOUNTED, atol=1e-9)
        np.testing.assert_allclose(robot.correction(), map_from_odom, atol=1e-9)
    again = robot.send()
    robot.drive(again)
    np.testing.assert_allclose(robot.pose(again), in_odom(again), atol=1e-9)
    graph.until(lambda: paths and len(paths[-1].poses) == 2, "the path of the good frames", robot.node)
    graph.until(lambda: again in [stamp_of(cloud.header) for cloud in clouds], "the last cloud", robot.node)
    assert [stamp_of(cloud.header) for cloud in clouds] == [good, again]
    _, values = graph.diagnosed()
    assert (values["frames held"], values["last held"]) == ("3", "the image is black")


def test_without_a_tree_the_last_good_pose_stands_and_diagnostics_warn(graph):
    robot = Robot(graph)
    good = robot.send()
    robot.pass_time()
    robot.pose(good)

    def warned():
        stamp = robot.send(black=True)
        np.testing.assert_allclose(robot.pose(stamp), in_map(good), atol=1e-9)
        np.testing.assert_allclose(robot.edges(stamp)["camera"], in_map(good), atol=1e-9)
        return graph.diagnosed()[0].startswith("held: ")

    graph.until(warned, "the verdict is that frames are held", robot.node)
    assert "an image adds nothing to the map, and the last good pose stands: the image is black" in robot.node.text


def test_missing_weights_are_a_fault_that_configure_tells(graph, tmp_path, monkeypatch):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path / "none"))
    node = graph.node(ready=False, reconstruction__kind="cut3r")
    graph.until(lambda: "moonseg3r weights get" in graph.diagnosed()[0], "the missing weights are told", node)
    text = graph.diagnosed()[0]
    assert text.startswith("not configured: ")
    assert "cut3r" in text
    assert "cannot configure: " in node.text
    for _ in range(3):
        graph.diagnosed()
    assert "not configured: " not in node.text  # it is in the log already
    assert "Traceback" not in node.text


def test_a_net_itself_from_images_to_a_map(graph, tmp_path):
    """The real net, small and untrained: nonsense geometry, right plumbing, said so."""
    nano = {"weights": str(write_nano(tmp_path / "nano.safetensors")), "pose": "model"}
    settings = {"kind": "nano", "random": True} | {f"nano__{name}": value for name, value in nano.items()}
    robot = Robot(graph, script=None, **{f"reconstruction__{name}": value for name, value in settings.items()})
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    robot.send()
    robot.pass_time()
    for _ in range(3):
        stamp = robot.send()
        assert np.isfinite(robot.pose(stamp)).all()
        assert list(robot.edges(stamp)) == ["camera"]
    graph.until(lambda: maps and maps[-1].width, "a map with points", robot.node)
    text, values = graph.diagnosed()
    assert text.startswith("UNTRAINED")
    assert values["frames held"] == "0"
    assert "UNTRAINED" in robot.node.text
