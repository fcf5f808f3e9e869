"""Which frame map -> it may place, for each shape of a robot's tree; and QoS that stays with its topic."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from types import SimpleNamespace

from geometry_msgs.msg import TransformStamped

from moonseg3r_core import FrameMessages, MoonSeg3RError
from moonseg3r_ros.interface import INPUTS
from moonseg3r_ros.map_frame import IDENTITY, MapFrame
from moonseg3r_ros.settings import NodeSettings

PLACED = np.diag([1.0, 1.0, 1.0, 1.0])
PLACED[0, 3] = 7.0


def make_map_frame(*edges, given=False, fails=False, **settings):
    said = []

    def lookup(target, source, stamp):
        if fails:
            raise MoonSeg3RError("no such frame")
        return PLACED

    warnings = SimpleNamespace(warn=lambda topic, text: said.append(text))
    made = MapFrame(SimpleNamespace(settings=NodeSettings(**settings)), given, lookup, warnings)
    made.filter_transforms([edge(parent, child) for parent, child in edges])
    return made, said


def edge(parent, child):
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id = parent
    return made


def locate(made, frame="camera"):
    image = SimpleNamespace(header=SimpleNamespace(frame_id=frame))
    child, child_from_camera = made.locate(FrameMessages(0, 0.0, image))
    return child, child_from_camera is IDENTITY


@pytest.mark.parametrize(
    ("edges", "child"),
    [
        ([], "camera"),
        ([("map", "camera")], "camera"),
        ([("odom", "camera")], "odom"),
        ([("odom", "base"), ("base", "camera")], "odom"),
        ([("/odom", "/base"), ("/base", "/camera")], "odom"),
        ([("base", "camera")], "base"),
        ([("map", "odom"), ("odom", "base"), ("base", "camera")], ""),
        ([("earth", "map"), ("map", "odom"), ("odom", "camera")], ""),
        ([("a", "b"), ("b", "a")], "camera"),
    ],
)
def test_the_root_of_the_cameras_tree_is_placed_unless_the_map_is_in_it(edges, child):
    made, said = make_map_frame(*edges)
    assert locate(made) == (child, child in ("camera", ""))
    assert not said


def test_a_ring_of_frames_ends():
    assert locate(make_map_frame(("b", "camera"), ("camera", "b"))[0])[0] in ("b", "camera")


def test_odom_frame_prevails():
    assert locate(make_map_frame(("base", "camera"), odom_frame="odom")[0]) == ("odom", False)


def test_what_the_node_said_itself_is_not_heard():
    made, _ = make_map_frame(("odom", "camera"))
    assert locate(made)[0] == "odom"
    assert made.filter_transforms([edge("map", "odom"), edge("odom", "camera")]) == [edge("odom", "camera")]
    assert locate(made)[0] == "odom"


def test_no_leading_slash_goes_out_and_a_nameless_camera_has_a_name():
    assert locate(make_map_frame()[0], "/camera") == ("camera", True)
    assert locate(make_map_frame()[0], "") == ("camera", True)


def test_a_camera_that_the_node_places_itself_has_no_parent_and_with_given_poses_it_may_be_anothers():
    for given, theirs in ((False, []), (True, [edge("map", "camera")])):
        made, _ = make_map_frame(given=given)
        assert locate(made)[0] == "camera"
        assert made.filter_transforms([edge("map", "camera")]) == theirs


def test_a_tree_that_turns_up_late_is_found_though_the_node_placed_the_camera_before():
    made, _ = make_map_frame()
    assert locate(made)[0] == "camera"
    made.filter_transforms([edge("odom", "base"), edge("base", "camera"), edge("map", "camera")])  # the last is an echo
    assert locate(made)[0] == "odom"


@pytest.mark.parametrize(
    ("edges", "fails", "early", "late"),
    [
        ([], False, False, True),  # nobody places it, up to now
        ([("map", "camera")], False, False, True),
        ([("base", "camera")], False, False, True),  # odometry may begin
        ([("odom", "camera")], False, True, True),
        ([("odom", "camera")], True, False, False),  # its TF of this moment is still to come
        ([("map", "odom"), ("odom", "camera")], True, True, True),  # nothing to place, nothing to wait for
    ],
)
def test_what_an_image_waits_for(edges, fails, early, late):
    made, said = make_map_frame(*edges, fails=fails)
    image = SimpleNamespace(header=SimpleNamespace(frame_id="camera"))
    assert [made.is_ready(image, 0.0, first) for first in (True, False)] == [early, late]
    assert not said


def test_what_is_not_known_is_said_and_not_made_up():
    for settings in ({"fails": True}, {"fails": True, "odom_frame": "odom"}):
        made, said = make_map_frame(("odom", "camera"), **settings)
        assert locate(made) == ("", True)
        assert said[0].startswith("no TF is published")


def test_qos_changed_on_one_topic_stays_there():
    before = INPUTS["camera_info"].make_qos()["qos_profile"].depth
    INPUTS["image"].make_qos()["qos_profile"].depth = 77
    assert INPUTS["camera_info"].make_qos()["qos_profile"].depth == before
    assert INPUTS["image"].make_qos()["qos_profile"].depth == before
