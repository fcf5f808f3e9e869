"""Where the segmenter's world lies in what is published, drawn on paper: x alone, metres; turns about z."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import Header

from moonseg3r_core import FrameMessages, TransformError
from moonseg3r_ros.conversions.poses import BODY_FROM_OPTICAL, make_pose
from moonseg3r_ros.frames.map_frame import MapFrame
from moonseg3r_ros.frames.robot_tree import CameraTransforms
from moonseg3r_ros.settings import NodeSettings


def shift(x, degrees=0.0):
    pose, angle = np.eye(4), np.radians(degrees)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[0, 3] = x
    return pose


LOST = CameraTransforms("camera", "camera", np.eye(4), True, False, None, None, "", None)


def robot(odometry, localization=None, world=""):
    """The camera at `odometry` in odom, and odom at `localization` in the map of another node."""
    owned = localization is not None
    in_map = localization @ odometry if owned else None
    from_world = {"": None, "odom": localization, "map": np.eye(4)}[world] if owned else None
    return CameraTransforms("camera", "odom", odometry, not owned, owned, in_map, localization, world, from_world)


def walk(frame, *steps):
    """Follow and place each (transforms, world_from_camera); return (moved, camera's pose, corrections) of each."""
    found = []
    for transforms, world_from_camera in steps:
        moved = str(frame.follow(transforms) or "")
        pose = frame.place(transforms, world_from_camera, is_held=False)
        edges = {(e.parent, e.child): e.pose[0, 3] for e in frame.list_corrections(transforms)}
        found.append((moved, pose, edges))
    return found


def test_without_a_tree_the_map_begins_in_the_first_camera():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    (_, first, edges), (_, second, _) = walk(frame, (LOST, shift(1)), (LOST, shift(3)))
    np.testing.assert_allclose(first, BODY_FROM_OPTICAL, atol=1e-12)
    np.testing.assert_allclose(second, BODY_FROM_OPTICAL @ shift(2), atol=1e-12)
    assert edges == {}


def test_estimated_poses_begin_level_where_odometry_begins_and_correct_it():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    found = walk(frame, (robot(shift(5)), shift(0)), (robot(shift(6)), shift(1.5)))
    np.testing.assert_allclose(found[0][1], shift(5))
    assert found[0][2] == {("map", "odom"): 0.0}
    np.testing.assert_allclose(found[1][1], shift(6.5))
    assert found[1][2] == {("map", "odom"): 0.5}


@pytest.mark.parametrize(("origin", "first"), [("first_camera", BODY_FROM_OPTICAL), ("world", shift(2))])
def test_an_origin_that_is_asked_for_prevails(origin, first):
    (found,) = walk(MapFrame(NodeSettings(map_origin=origin), "moonseg3r_map"), (robot(shift(5)), shift(2)))
    np.testing.assert_allclose(found[1], first, atol=1e-12)


def test_estimated_poses_in_anothers_map_are_in_a_frame_of_their_own_that_is_aligned_at_first():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    found = walk(frame, (robot(shift(1), shift(7)), shift(0)), (robot(shift(2), shift(7)), shift(1.1)))
    assert frame.name == "moonseg3r_map"
    np.testing.assert_allclose(found[0][1], shift(8))
    np.testing.assert_allclose(found[1][1], shift(9.1))
    assert found[1][2] == {("map", "moonseg3r_map"): 0.0}


def test_localization_comes_to_estimated_poses_jumps_goes_and_comes_back():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    (first,) = walk(frame, (robot(shift(0)), shift(0)))
    assert (frame.name, first[2]) == ("map", {("map", "odom"): 0.0})
    (came,) = walk(frame, (robot(shift(1), shift(5)), shift(1)))
    assert frame.name == "moonseg3r_map"
    np.testing.assert_allclose(came[1], shift(1))  # coordinates go on
    assert came[0].startswith("another node publishes map -> odom now, other than here by 5.00 m and 0.0 degrees")
    assert came[2] == {("map", "moonseg3r_map"): 5.0}
    (jumped,) = walk(frame, (robot(shift(1), shift(5.5)), shift(1)))
    assert jumped[0].startswith("map -> odom jumped by 0.50 m and 0.0 degrees")
    assert jumped[2] == {("map", "moonseg3r_map"): 5.5}
    (gone,) = walk(frame, (robot(shift(2)), shift(2)))
    assert frame.name == "map"
    assert gone[2] == {("map", "odom"): 5.5}  # from the last value on
    np.testing.assert_allclose(gone[1], shift(7.5))
    (back,) = walk(frame, (robot(shift(2), shift(5.5)), shift(2)))
    assert back[0] == ""
    assert (frame.name, back[2]) == ("moonseg3r_map", {("map", "moonseg3r_map"): 0.0})


def test_external_poses_in_odometry_are_carried_into_anothers_map_at_once():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    (before,) = walk(frame, (robot(shift(1), world="odom"), shift(1)))
    assert before[2] == {("map", "odom"): 0.0}
    came, jumped = walk(
        frame,
        (robot(shift(2), shift(5), "odom"), shift(2)),
        (robot(shift(2), shift(5, 10), "odom"), shift(2)),
    )
    assert came[0].startswith("another node publishes map -> odom now")
    assert jumped[0].startswith("map -> odom jumped by 0.35 m and 10.0 degrees")
    np.testing.assert_allclose(frame.from_world, shift(5, 10))
    assert (frame.name, came[2], jumped[2]) == ("map", {}, {})
    (gone,) = walk(frame, (robot(shift(3), world="odom"), shift(3)))
    np.testing.assert_allclose(frame.from_world, shift(5, 10))
    assert gone[2] == {("map", "odom"): 5.0}


def test_external_poses_in_the_map_itself_go_on_in_the_old_one_after_a_jump_which_moves_as_a_whole():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")

    def send(odometry, localization):
        transforms = robot(shift(odometry), shift(localization), "map")
        moved = str(frame.follow(transforms) or "")
        messages = frame.move_pose(FrameMessages(0, 0.0, None, pose=shift(localization + odometry)))
        return moved, messages.pose[0, 3], frame.place(transforms, messages.pose, is_held=False)[0, 3]

    assert send(1, 10) == ("", 11.0, 11.0)
    moved, in_world, in_map = send(2, 13)
    assert "jumped by 3.00 m" in moved
    assert (in_world, in_map) == (12.0, 15.0)
    assert frame.from_world[0, 3] == 3.0
    assert send(2, 13.1) == ("", pytest.approx(12.1), pytest.approx(15.1))  # an ordinary correction


def test_a_map_of_another_node_that_does_not_lead_to_the_camera_has_its_name_for_itself():
    transforms = replace(
        robot(shift(1), shift(5), "odom"), map_from_world=None, map_from_odometry=None, is_root_free=True
    )
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    (found,) = walk(frame, (transforms, shift(1)))
    assert frame.name == "moonseg3r_map"
    assert found[2] == {("moonseg3r_map", "odom"): 0.0}


def test_a_held_image_moves_with_the_robots_own_odometry():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    walk(frame, (robot(shift(0)), shift(0)), (robot(shift(1)), shift(1.5)))
    transforms = robot(shift(3))
    np.testing.assert_allclose(frame.place(transforms, shift(1.5), is_held=True), shift(3.5))
    assert frame.list_corrections(transforms)[0].pose[0, 3] == 0.5


def test_nothing_is_placed_where_tf_does_not_say_where_the_camera_is():
    transforms = replace(robot(shift(0)), root_from_camera=None)
    (found,) = walk(MapFrame(NodeSettings(), "moonseg3r_map"), (transforms, shift(2)))
    assert found[2] == {}
    np.testing.assert_allclose(found[1], BODY_FROM_OPTICAL, atol=1e-12)


def test_localization_that_comes_or_goes_while_images_are_held_is_followed_by_the_robots_odometry():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    walk(frame, (robot(shift(0)), shift(0)))
    transforms = robot(shift(3), shift(5))
    frame.follow(transforms)
    np.testing.assert_allclose(frame.place(transforms, shift(0), is_held=True), shift(3))
    assert frame.list_corrections(transforms) == []  # not aligned by a pose that is an old one
    (came,) = walk(frame, (robot(shift(3), shift(5)), shift(3)))
    assert came[2] == {("map", "moonseg3r_map"): 5.0}
    transforms = robot(shift(4))
    frame.follow(transforms)
    np.testing.assert_allclose(frame.place(transforms, shift(3), is_held=True), shift(9))
    assert [edge.pose[0, 3] for edge in frame.list_corrections(transforms)] == [5.0]


def test_a_loaded_map_stays_where_it_was_in_the_map_of_localization():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    frame.from_world = shift(3)
    transforms = robot(shift(1), shift(0), "map")
    frame.follow(transforms)
    messages = frame.move_pose(FrameMessages(0, 0.0, None, pose=shift(1)))
    assert messages.pose[0, 3] == -2.0
    np.testing.assert_allclose(frame.place(transforms, messages.pose, is_held=False), shift(1))
    np.testing.assert_allclose(frame.from_world, shift(3))


def test_the_map_goes_on_when_poses_come_in_another_frame_than_before():
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    walk(frame, (robot(shift(1), world="odom"), shift(1)))
    transforms = robot(shift(2), shift(5), "map")  # activated again, beside localization
    frame.follow(transforms)
    messages = frame.move_pose(FrameMessages(0, 0.0, None, pose=shift(7)))
    assert messages.pose[0, 3] == 2.0
    np.testing.assert_allclose(frame.place(transforms, messages.pose, is_held=False), shift(7))


def test_a_leading_slash_of_older_launch_files_does_not_matter():
    frame = MapFrame(NodeSettings(map_frame="/map"), "/own")
    (found,) = walk(frame, (robot(shift(1)), shift(1)))
    assert found[2] == {("map", "odom"): 0.0}


@pytest.mark.parametrize("world", ["odom", "map"])
def test_a_jump_that_drift_explains_moves_the_past_by_degrees(world):
    """Six metres of way, then half a metre back; the world stays where it is, and the next frame says how."""
    frame = MapFrame(NodeSettings(), "moonseg3r_map")
    for t in range(7):
        at = robot(shift(float(t)), shift(2.0), world)
        assert frame.follow(at, float(t)) is None
        messages = frame.move_pose(FrameMessages(t, float(t), None, pose=shift(t + 2.0 * (world == "map"))))
        frame.place(at, messages.pose, is_held=False)
    origin = frame.from_world
    moved = frame.follow(robot(shift(7.0), shift(1.5), world), 7.0)
    assert moved.is_drift
    assert str(moved) == "map -> odom jumped by 0.50 m and 0.0 degrees"
    messages = frame.move_pose(FrameMessages(7, 7.0, None, pose=shift(7 + 1.5 * (world == "map"))))
    moves = frame.take_moves(at)
    assert moves.stamps.tolist() == [0.0, 7.0]
    np.testing.assert_allclose(moves.new_from_old[:, 0, 3], [0, -0.5], atol=1e-12)
    pose = frame.place(robot(shift(7.0), shift(1.5), world), messages.pose, is_held=False)
    np.testing.assert_allclose(pose, shift(8.5), atol=1e-12)
    np.testing.assert_allclose(frame.from_world, origin, atol=1e-12)
    assert not len(frame.take_moves(at)), "it is told once"


def make_path(frame_id, xs):
    """A path along x, a pose a second from 1 s on."""
    poses = [
        PoseStamped(header=Header(stamp=Time(sec=t + 1), frame_id=frame_id), pose=make_pose(shift(float(x))))
        for t, x in enumerate(xs)
    ]
    return Path(header=Header(frame_id=frame_id), poses=poses)


@pytest.mark.parametrize(("world", "path_frame"), [("odom", "map"), ("map", "/map"), ("odom", "odom")])
def test_a_corrected_path_moves_the_past_and_jumps_no_longer_do(world, path_frame):
    """Localization is at 2 m and jumps to 1.5 m, a path in the map says that the second half of the way was shorter."""
    frame, in_map = MapFrame(NodeSettings(), "moonseg3r_map"), 2.0 * (path_frame != "odom")
    told = []
    for t in range(9):
        drift = 0.5 * (t > 6)
        at = robot(shift(float(t)), shift(2.0 - drift), world)
        moved = frame.follow(at, t + 1.0)
        known = np.arange(t + 1) + in_map
        frame.add_path(make_path(path_frame, known - drift * (known > in_map + 3)), at)
        given = t + (2.0 - drift) * (world == "map")
        messages = frame.move_pose(FrameMessages(t, t + 1.0, None, pose=shift(given)))
        told.append(frame.take_moves(at))
        pose = frame.place(at, messages.pose, is_held=False)
        assert moved is None, t
        np.testing.assert_allclose(pose, shift(t + 2.0 - drift), atol=1e-12)
        if path_frame != "odom":
            np.testing.assert_allclose(frame.from_world, shift(2.0 * (world == "odom")), atol=1e-12)
    assert [len(moves) for moves in told] == [0] * 7 + [7, 0]
    assert told[7].stamps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(told[7].new_from_old[:, 0, 3], [0] * 4 + [-0.5] * 3, atol=1e-12)


def test_moves_come_in_the_segmenters_world():
    """It began when the map was elsewhere; the path turns about the map's origin."""
    frame, at = MapFrame(NodeSettings(), "moonseg3r_map"), robot(shift(0), shift(2.0), "odom")
    frame.follow(at)
    frame.place(at, shift(0), is_held=False)
    first, second = make_path("map", [5.0]), make_path("map", [5.0])
    second.poses[0].pose = make_pose(shift(0, 90) @ shift(5.0))
    frame.add_path(first, at)
    assert not len(frame.take_moves(at))
    frame.add_path(second, at)
    frame.add_path(second, at)
    np.testing.assert_allclose(frame.take_moves(at).new_from_old[0], shift(-2) @ shift(0, 90) @ shift(2), atol=1e-12)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (make_path("world", [1.0]), "it lies in frame 'world', expected 'odom' or 'map'"),
        (Path(header=Header(frame_id="map"), poses=[make_path("map", [1.0]).poses[0]] * 3), "got 1 for 3 poses"),
    ],
)
def test_a_path_that_cannot_be_used_is_said_once(path, complaint):
    frame, at = MapFrame(NodeSettings(), "moonseg3r_map"), robot(shift(0), shift(2.0), "odom")
    with pytest.raises(TransformError, match=complaint):
        frame.add_path(path, at)
    frame.add_path(path, at)
