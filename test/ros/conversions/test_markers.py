"""Instances as RViz markers: shown, moved, and taken away once."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from vectors import xyz
from visualization_msgs.msg import Marker, MarkerArray

from moonseg3r_core.report.palette import compute_colors
from moonseg3r_core.types import Instance
from moonseg3r_ros.conversions.markers import NAMESPACES, InstanceMarkers
from moonseg3r_ros.conversions.poses import make_header
from moonseg3r_ros.conversions.times import make_time

HEADER = make_header(make_time(7), "map")
HERE = np.eye(4)


def an_instance(id=7, low=(0.0, 0.0, 0.0), high=(2.0, 4.0, 6.0), score=0.5):
    return Instance(id, 30, (0.5, 0.5, 0.5), low, high, score, 0, 9, 3)


def by_namespace(array, id):
    return {marker.ns: marker for marker in array.markers if marker.id == id}


def deleted(array):
    return [(marker.id, marker.ns) for marker in array.markers if marker.action == Marker.DELETE]


def corners_in_map(outline):
    q = outline.pose.orientation
    rotation = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    return np.array([rotation @ xyz(point) + xyz(outline.pose.position) for point in outline.points])


def test_a_box_an_outline_and_a_label():
    shown = by_namespace(InstanceMarkers().update(HEADER, [an_instance()], HERE), 7)
    assert set(shown) == set(NAMESPACES)
    assert {marker.type for marker in shown.values()} == {Marker.CUBE, Marker.LINE_LIST, Marker.TEXT_VIEW_FACING}
    assert all(marker.action == Marker.ADD and marker.header == HEADER for marker in shown.values())
    assert (xyz(shown["box"].pose.position), xyz(shown["box"].scale)) == ((1.0, 2.0, 3.0), (2.0, 4.0, 6.0))
    assert 0 < shown["box"].color.a < 0.5 < shown["outline"].color.a


def test_an_outline_is_the_twelve_edges_of_the_box():
    outline = by_namespace(InstanceMarkers().update(HEADER, [an_instance()], HERE), 7)["outline"]
    ends = corners_in_map(outline).reshape(12, 2, 3)
    lengths = np.abs(ends[:, 0] - ends[:, 1])
    assert sorted(lengths.tolist()) == [[0, 0, 6]] * 4 + [[0, 4, 0]] * 4 + [[2, 0, 0]] * 4
    assert {tuple(corner) for corner in ends.reshape(-1, 3)} == {
        (x, y, z) for x in (0, 2) for y in (0, 4) for z in (0, 6)
    }


def test_a_label_says_id_and_score_above_the_box():
    label = by_namespace(InstanceMarkers().update(HEADER, [an_instance(score=0.756)], HERE), 7)["label"]
    assert label.text == "7 (0.76)"
    assert xyz(label.pose.position)[:2] == (1.0, 2.0)
    assert 6.0 < label.pose.position.z < 6.2


def test_boxes_are_turned_into_the_map():
    world_up_is_map_forward = np.eye(4)
    world_up_is_map_forward[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    shown = by_namespace(InstanceMarkers().update(HEADER, [an_instance()], world_up_is_map_forward), 7)
    assert xyz(shown["box"].scale) == (2.0, 4.0, 6.0)
    corners = corners_in_map(shown["outline"])
    np.testing.assert_allclose(corners.min(0), (0, -2, -4), atol=1e-12)
    np.testing.assert_allclose(corners.max(0), (6, 0, 0), atol=1e-12)
    assert 0.0 < shown["label"].pose.position.z < 0.2


turns = st.tuples(*[st.floats(-3.2, 3.2)] * 3)


@settings(max_examples=30, deadline=None)
@given(turns)
def test_a_label_is_above_the_box_however_it_is_turned(turn):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    shown = by_namespace(InstanceMarkers().update(HEADER, [an_instance()], pose), 7)
    highest = corners_in_map(shown["outline"])[:, 2].max()
    assert 0.0 < shown["label"].pose.position.z - highest < 0.2


def test_an_instance_has_the_colour_that_it_has_in_the_report():
    for id in (1, 7, 70_000):
        shown = by_namespace(InstanceMarkers().update(HEADER, [an_instance(3), an_instance(id)], HERE), id)
        color = shown["box"].color
        np.testing.assert_allclose((color.r, color.g, color.b), compute_colors(np.array(id)) / 255, atol=1e-6)


def test_a_flat_box_has_a_side_that_rviz_draws():
    flat = an_instance(high=(2.0, 4.0, 0.0))
    assert 0 < by_namespace(InstanceMarkers().update(HEADER, [flat], HERE), 7)["box"].scale.z < 0.01


def test_what_vanished_is_deleted_once():
    markers = InstanceMarkers()
    markers.update(HEADER, [an_instance(1), an_instance(2)], HERE)
    assert deleted(markers.update(HEADER, [an_instance(2)], HERE)) == [(1, namespace) for namespace in NAMESPACES]
    assert deleted(markers.update(HEADER, [an_instance(2)], HERE)) == []


def test_what_comes_back_is_shown_and_deleted_again():
    markers = InstanceMarkers()
    markers.update(HEADER, [], HERE)
    for shown, gone in (([an_instance(1)], 0), ([], 3), ([an_instance(1)], 0), ([], 3), ([], 0)):
        array = markers.update(HEADER, shown, HERE)
        assert (len(array.markers) - gone, len(deleted(array))) == (3 * len(shown), gone)


def test_the_first_array_clears_what_another_node_may_have_left():
    markers = InstanceMarkers()
    first, *others = markers.update(HEADER, [an_instance(1)], HERE).markers
    assert (first.action, first.header) == (Marker.DELETEALL, HEADER)
    assert {marker.action for marker in others} == {Marker.ADD}
    assert Marker.DELETEALL not in {marker.action for marker in markers.update(HEADER, [], HERE).markers}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(1, 6)), max_size=8))
def test_a_viewer_shows_what_there_is(steps):
    markers, viewer = InstanceMarkers(), set()
    for ids in steps:
        for marker in markers.update(HEADER, [an_instance(id) for id in sorted(ids)], HERE).markers:
            if marker.action == Marker.DELETEALL:
                viewer = set()
                continue
            key = marker.ns, marker.id
            assert (key in viewer) or marker.action == Marker.ADD
            viewer = viewer | {key} if marker.action == Marker.ADD else viewer - {key}
        assert viewer == {(namespace, id) for id in ids for namespace in NAMESPACES}


def test_markers_survive_the_wire():
    sent = InstanceMarkers().update(HEADER, [an_instance(1), an_instance(2)], HERE)
    back = deserialize_message(serialize_message(sent), MarkerArray)
    parts = [[(m.ns, m.id, m.pose, m.points, m.scale.y, m.text) for m in array.markers] for array in (sent, back)]
    assert parts[0] == parts[1]
