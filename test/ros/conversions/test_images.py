"""Id maps and overlays as Image messages."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from moonseg3r_core.report.palette import compute_colors
from moonseg3r_ros.conversions.images import (
    compact_ids,
    draw_instances,
    make_overlay_message,
    make_segmentation_message,
)
from moonseg3r_ros.conversions.poses import make_header
from moonseg3r_ros.conversions.times import make_time

HEADER = make_header(make_time(7), "camera")
GREY = np.full((120, 160, 3), 100, np.uint8)


def square(id=7, side=60):
    ids = np.zeros((120, 160), np.int32)
    ids[20 : 20 + side, 30 : 30 + side] = id
    return ids


def half_tint(id):
    """A grey of 100 under an instance's colour, as integers round it."""
    return (100 + compute_colors(np.array(id)).astype(int)) / 2


def is_dark(picture):
    return (picture < 60).all(-1)


def test_ids_as_32_bits():
    ids = np.array([[0, 1, 2], [70_000, 2**31 - 1, 5]], np.int32)
    message = make_segmentation_message(HEADER, ids)
    assert (message.height, message.width, message.step, message.encoding) == (2, 3, 12, "32SC1")
    assert (message.is_bigendian, message.header) == (0, HEADER)
    np.testing.assert_array_equal(np.frombuffer(message.data, "<i4").reshape(2, 3), ids)
    assert deserialize_message(serialize_message(message), Image) == message


def test_ids_of_any_layout_in_memory():
    ids = np.arange(12, dtype=np.int32).reshape(3, 4)
    np.testing.assert_array_equal(
        np.frombuffer(make_segmentation_message(HEADER, ids.T).data, "<i4").reshape(4, 3), ids.T
    )


def test_an_overlay_is_an_rgb_image():
    message = make_overlay_message(HEADER, GREY, square())
    assert (message.height, message.width, message.step, message.encoding) == (120, 160, 480, "rgb8")
    np.testing.assert_array_equal(
        np.frombuffer(message.data, np.uint8).reshape(GREY.shape), draw_instances(GREY, square())
    )


def test_an_image_without_instances_is_shown_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, GREY.shape, dtype=np.uint8)
    np.testing.assert_array_equal(draw_instances(picture, np.zeros((120, 160), np.int32)), picture)


@pytest.mark.parametrize("id", [1, 7, 70_000])
def test_an_instance_is_tinted_outlined_and_numbered(id):
    picture, ids = draw_instances(GREY, square(id)), square(id)
    np.testing.assert_allclose(picture[75, 85], half_tint(id), atol=0.5)
    np.testing.assert_allclose(picture[20, 50], 0.25 * half_tint(id) + 0.75 * 255, atol=1)
    assert (picture[ids == 0] == 100).all()
    assert is_dark(picture[ids > 0]).any()


def test_a_number_is_left_out_where_it_has_no_room():
    assert not is_dark(draw_instances(GREY, square(side=7))).any()
    assert is_dark(draw_instances(GREY, square(side=60))).any()


def test_speckle_is_tinted_and_has_no_outline():
    ids = square(0)
    ids[60, 80] = 3
    np.testing.assert_allclose(draw_instances(GREY, ids)[60, 80], half_tint(3), atol=0.5)


def test_neither_image_nor_ids_are_changed():
    image, ids = GREY.copy(), square()
    draw_instances(image, ids)
    assert (image == GREY).all()
    assert (ids == square()).all()


def test_a_number_stands_in_its_own_instance():
    ids = square(8)
    ids[40:60, 50:70] = 0  # a ring: its middle is not its own
    picture = draw_instances(GREY, ids)
    y, x = np.argwhere(is_dark(picture)).mean(0).round().astype(int)
    assert ids[y, x] == 8


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6),
    st.integers(0, 9),
)
def test_rows_and_present_ids_give_the_ids_back(height, width, some, seed):
    ids = np.random.default_rng(seed).choice(np.array(some, np.int32), (height, width))
    present, labels = compact_ids(ids)
    np.testing.assert_array_equal(present[labels], ids)
    assert present[0] == 0
    assert (np.diff(present) > 0).all()
    assert draw_instances(np.zeros((height, width, 3), np.uint8), ids).shape == (height, width, 3)


def test_cv_bridge_reads_the_same():
    pytest.importorskip("cv_bridge.boost.cv_bridge_boost", reason="cv_bridge does not run", exc_type=ImportError)
    bridge = pytest.importorskip("cv_bridge").CvBridge()
    ids = square(70_000)
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(make_segmentation_message(HEADER, ids)), ids)
    np.testing.assert_array_equal(
        bridge.imgmsg_to_cv2(make_overlay_message(HEADER, GREY, ids)), draw_instances(GREY, ids)
    )
    assert bridge.cv2_to_imgmsg(draw_instances(GREY, ids), "rgb8", HEADER) == make_overlay_message(HEADER, GREY, ids)
