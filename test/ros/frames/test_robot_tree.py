"""What other nodes say of the camera on TF: its own tree, and whose the map is, now and when an edge no longer comes."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped

from moonseg3r_core import FrameMessages, MoonSeg3RError
from moonseg3r_ros.frames.robot_tree import OWNER_TIMEOUT_S, RobotTree

NOW = 100.0
PLACED = np.eye(4)
PLACED[0, 3] = 7.0


def make_tree(*edges, fails=False, own=(), published=False, **frames):
    def look_up(target, source, stamp):
        if fails:
            raise MoonSeg3RError("no such frame")
        return PLACED

    frames = {"map_frame": "map", "odom_frame": ""} | frames
    tree = RobotTree(*frames.values(), look_up, lambda transform: transform.child_frame_id in own, lambda: published)
    tree.filter_transforms([edge(*names) for names in edges], NOW, static=False)
    return tree


def hear(tree, edge, now=NOW, static=False):
    return [transform.child_frame_id for transform in tree.filter_transforms([edge], now, static)]


def edge(parent, child, stamp=NOW):
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id, made.header.stamp = parent, Time(sec=int(stamp))
    return made


def image(frame="camera"):
    return SimpleNamespace(header=SimpleNamespace(frame_id=frame))


def locate(tree, now=NOW, world=""):
    return tree.locate(FrameMessages(0, now, image()), world, now)


@pytest.mark.parametrize(
    ("edges", "root", "free", "owned"),
    [
        ([], "camera", True, False),
        ([("map", "camera")], "camera", False, True),
        ([("odom", "camera")], "odom", True, False),
        ([("odom", "base"), ("base", "camera")], "odom", True, False),
        ([("/odom", "/base"), ("/base", "/camera")], "odom", True, False),
        ([("base", "camera")], "base", True, False),
        ([("map", "odom"), ("odom", "base"), ("base", "camera")], "odom", False, True),
        ([("earth", "map"), ("map", "odom"), ("odom", "camera")], "odom", False, True),
        ([("earth", "map"), ("odom", "camera")], "odom", True, False),
        ([("map", "dock"), ("odom", "camera")], "odom", True, True),
        ([("a", "camera"), ("b", "a"), ("a", "b")], "b", False, False),
    ],
)
def test_the_root_of_the_cameras_tree_and_whether_others_place_it(edges, root, free, owned):
    found = locate(make_tree(*edges))
    assert (found.root, found.is_root_free, found.is_map_owned) == (root, free, owned)


def test_odom_frame_prevails():
    assert locate(make_tree(("base", "camera"), odom_frame="/odom")).root == "odom"


def test_what_the_node_published_itself_is_not_learned():
    tree = make_tree(("odom", "camera"))
    assert hear(tree, edge("map", "odom")) == ["odom"]
    assert locate(tree).is_map_owned
    tree = make_tree(("odom", "camera"), own=("odom",))
    assert hear(tree, edge("map", "odom")) == []
    assert not locate(tree).is_map_owned


def test_localization_that_has_stopped_is_gone_after_a_while_and_back_at_once():
    tree = make_tree(("map", "odom"), ("odom", "camera"))
    assert locate(tree, NOW + OWNER_TIMEOUT_S).is_map_owned
    gone = locate(tree, NOW + OWNER_TIMEOUT_S + 1)
    assert (gone.root, gone.is_root_free, gone.is_map_owned) == ("odom", True, False)
    hear(tree, edge("map", "odom", NOW + 60), NOW + 60)
    assert locate(tree, NOW + 60).is_map_owned


@pytest.mark.parametrize("stamp", [0, 10, 1e9])
def test_localization_whose_clock_is_another_or_that_sends_no_stamp_is_there(stamp):
    tree = make_tree(("odom", "camera"))
    hear(tree, edge("map", "odom", stamp))
    found = locate(tree)
    assert (found.is_root_free, found.is_map_owned) == (False, True)


def test_what_is_static_stays_and_odometry_that_stopped_is_not_replaced():
    tree = make_tree(("odom", "camera"))
    hear(tree, edge("map", "odom", 0), static=True)
    assert locate(tree, 1e9).is_map_owned
    tree = make_tree(("odom", "base"), ("base", "camera"))
    assert locate(tree, 1e9).root == "odom"


def test_a_thing_that_others_place_in_the_nodes_own_map_does_not_take_the_map_away():
    tree = make_tree(("odom", "camera"), published=True)
    hear(tree, edge("map", "cup"))
    assert not locate(tree).is_map_owned
    hear(tree, edge("map", "odom"))
    assert locate(tree).is_map_owned


@pytest.mark.parametrize(
    "edges",
    [
        [("odom", "camera"), ("camera", "tag"), ("tag", "map")],
        [("earth", "odom"), ("odom", "camera"), ("earth", "map")],
    ],
)
def test_a_map_that_hangs_below_the_robot_or_beside_it_is_anothers_and_no_ring_comes(edges):
    found = locate(make_tree(*edges))
    assert (found.is_root_free, found.is_map_owned) == (False, True)


def test_the_newest_stamp_is_that_of_what_moves_the_camera():
    tree = make_tree(("odom", "base"), ("base", "camera"))
    locate(tree)
    hear(tree, edge("world", "balloon", 5000))
    hear(tree, edge("odom", "base", NOW + 2))
    hear(tree, edge("base", "camera", 0), static=True)
    assert tree.get_newest_stamp(NOW) == NOW + 2


def test_poses_are_those_of_tf_where_others_have_the_map_and_none_where_it_says_nothing():
    found = locate(make_tree(("map", "odom"), ("odom", "camera")), world="odom")
    for pose in (found.root_from_camera, found.map_from_camera, found.map_from_odometry, found.map_from_world):
        np.testing.assert_array_equal(pose, PLACED)
    found = locate(make_tree(("odom", "camera")), world="odom")
    assert (found.map_from_camera, found.map_from_odometry, found.map_from_world) == (None, None, None)
    found = locate(make_tree(("map", "odom"), ("odom", "camera"), fails=True))
    assert (found.root_from_camera, found.map_from_camera, found.map_from_odometry) == (None, None, None)
    assert locate(make_tree(("map", "base"), ("base", "camera"))).map_from_odometry is None  # a pose, no correction


@pytest.mark.parametrize(
    ("edges", "fails", "early", "late"),
    [
        ([], False, False, True),  # nobody places it, up to now
        ([("map", "camera")], False, True, True),
        ([("base", "camera")], False, False, True),  # odometry may begin
        ([("odom", "camera")], False, True, True),
        ([("odom", "camera")], True, False, False),  # its TF of this moment is still to come
        ([("map", "odom"), ("odom", "camera")], True, False, False),
    ],
)
def test_what_an_image_waits_for(edges, fails, early, late):
    tree = make_tree(*edges, fails=fails)
    assert [tree.is_ready(image(), NOW, first, NOW) for first in (True, False)] == [early, late]


def test_no_leading_slash_is_kept_and_a_nameless_camera_has_a_name():
    for frame in ("/camera", ""):
        assert make_tree().locate(FrameMessages(0, NOW, image(frame)), "", NOW).camera == "camera"


def test_edges_are_bounded():
    tree = make_tree(*[("map", f"thing {n}") for n in range(1200)])
    assert len(tree._edges) == 1000
