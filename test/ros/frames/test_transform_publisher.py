"""The node's own edges of TF: repeated for a later time, never those of others, and known again."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from moonseg3r_ros.conversions.times import SECOND, read_time
from moonseg3r_ros.frames.transform_publisher import Edge, TransformPublisher

CORRECTION = Edge("map", "odom", np.eye(4))


def make_publisher(*corrections):
    sent = []
    publisher = TransformPublisher(lambda message: sent.extend(message.transforms))
    publisher.set_corrections(corrections)
    return publisher, sent


def stamps(sent):
    return [read_time(transform.header.stamp) for transform in sent]


def test_a_correction_is_repeated_with_stamps_that_only_go_on():
    publisher, sent = make_publisher(CORRECTION, Edge("map", "own", np.eye(4)))
    for stamp in (5, 5, 4, 6):
        publisher.repeat(stamp * 100_000_000)
    assert [(t.header.frame_id, t.child_frame_id) for t in sent] == [("map", "odom"), ("map", "own")] * 2
    assert stamps(sent)[::2] == [500_000_000, 600_000_000]


def test_after_a_jump_back_in_time_it_goes_on():
    publisher, sent = make_publisher(CORRECTION)
    for stamp in (100, 3):
        publisher.repeat(stamp * SECOND)
    assert stamps(sent) == [100 * SECOND, 3 * SECOND]


def test_an_edge_of_another_node_is_not_published():
    publisher, sent = make_publisher(CORRECTION)
    publisher.is_free = lambda child: child != "odom"
    publisher.repeat(1)
    publisher.publish(Edge("map", "odom", np.eye(4)), 2)
    assert not sent
    assert not publisher.has_published()
    publisher.is_free = lambda child: True
    publisher.repeat(3)
    assert len(sent) == 1
    assert publisher.has_published()


def test_own_edges_are_known_by_frames_stamp_and_numbers():
    publisher, sent = make_publisher(CORRECTION)
    publisher.repeat(7)
    (own,) = sent
    assert publisher.is_own(own)
    for change in ("frame", "child", "stamp", "number"):
        publisher, sent = make_publisher(CORRECTION)
        publisher.repeat(7)
        other = sent[0]
        if change == "frame":
            other.header.frame_id = "world"
        elif change == "child":
            other.child_frame_id = "base"
        elif change == "stamp":
            other.header.stamp.nanosec = 8
        else:
            other.transform.translation.x = 0.5
        assert not publisher.is_own(other)


def test_what_was_published_long_ago_is_forgotten():
    publisher, sent = make_publisher(CORRECTION)
    for n in range(2002):
        publisher.repeat(n)
    assert [publisher.is_own(transform) for transform in (sent[0], sent[1], sent[2], sent[-1])] == [
        False,
        False,
        True,
        True,
    ]
