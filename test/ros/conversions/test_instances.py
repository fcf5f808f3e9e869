"""Instances as messages of the two packages that describe objects."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import deserialize_message, serialize_message
from vectors import TURNED, xyz

from moonseg3r_core.types import Instance
from moonseg3r_ros.conversions.instances import make_detections, make_instance_array
from moonseg3r_ros.conversions.poses import make_box_poses, make_header
from moonseg3r_ros.conversions.times import make_time

HEADER = make_header(make_time(7), "map")


@pytest.fixture
def ours():
    return pytest.importorskip("moonseg3r_msgs.msg", reason="moonseg3r_msgs is not built")


@pytest.fixture
def vision():
    return pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")


def an_instance(id=7):
    first, last = 1_764_000_123_456_789_123, 1_764_000_200_000_000_001
    return Instance(id, 30, (0.5, 1.0, 2.0), (0.0, 0.0, 0.0), (2.0, 4.0, 6.0), 0.75, first, last, 5)


def test_an_instance_with_all_that_is_known_of_it(ours):
    descriptor = np.array([0.1, -2.0, 3.5], np.float32)
    message = make_instance_array(HEADER, [an_instance()], TURNED, {3: 7, 1: 7, 4: 5}, {7: descriptor})
    (instance,) = message.instances
    assert message.header == HEADER
    assert (instance.id, instance.points, instance.observations, instance.score) == (7, 30, 5, 0.75)
    assert xyz(instance.box_size) == (2.0, 4.0, 6.0)
    assert [instance.box_center] == make_box_poses([an_instance()], TURNED)
    assert xyz(instance.box_center.position) == pytest.approx((8.0, 1.0, 3.0))
    assert xyz(instance.centroid) == pytest.approx((9.0, 0.5, 2.0))
    assert (instance.first_seen.sec, instance.first_seen.nanosec) == (1_764_000_123, 456_789_123)
    assert (instance.last_seen.sec, instance.last_seen.nanosec) == (1_764_000_200, 1)
    assert list(instance.merged_ids) == [1, 3]
    np.testing.assert_array_equal(instance.descriptor, descriptor)


def test_instances_come_by_rising_id_and_without_descriptors(ours):
    message = make_instance_array(HEADER, [an_instance(9), an_instance(2)], TURNED, {}, {})
    assert [instance.id for instance in message.instances] == [2, 9]
    assert all(not len(i.merged_ids) and not len(i.descriptor) for i in message.instances)


def test_an_empty_map_is_a_message(ours):
    assert make_instance_array(HEADER, [], TURNED, {}, {}) == ours.InstanceArray(header=HEADER)


def test_instances_survive_the_wire(ours):
    sent = make_instance_array(HEADER, [an_instance(1), an_instance(2)], TURNED, {5: 2}, {1: np.ones(64, np.float32)})
    assert deserialize_message(serialize_message(sent), ours.InstanceArray) == sent


def test_a_detection_is_the_box_under_its_id(vision):
    message = make_detections(HEADER, [an_instance()], TURNED)
    (detection,) = message.detections
    assert (message.header, detection.header, detection.id) == (HEADER, HEADER, "7")
    assert [detection.bbox.center] == make_box_poses([an_instance()], TURNED) == [detection.results[0].pose.pose]
    assert xyz(detection.bbox.size) == (2.0, 4.0, 6.0)
    guess = detection.results[0].hypothesis
    assert (guess.class_id, guess.score) == ("object", 0.75)


def test_detections_survive_the_wire(vision):
    sent = make_detections(HEADER, [an_instance(1), an_instance(2)], TURNED)
    assert deserialize_message(serialize_message(sent), vision.Detection3DArray) == sent
    assert make_detections(HEADER, [], TURNED) == vision.Detection3DArray(header=HEADER)
