"""PointCloud2 as RViz and PCL read it, and how a map is made to fit."""

import struct

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from vectors import TURNED

from moonseg3r_core.ops.voxels import find_first_in_voxels
from moonseg3r_core.report.palette import UNLABELLED, compute_colors
from moonseg3r_core.types import InstanceMap
from moonseg3r_ros.conversions.clouds import POINT_STEP, choose_rows, make_cloud_message, make_map_cloud
from moonseg3r_ros.conversions.palette import paint_by_instance
from moonseg3r_ros.conversions.poses import make_header
from moonseg3r_ros.conversions.times import make_time

HEADER = make_header(make_time(7), "map")
FLOAT, INT = PointField.FLOAT32, PointField.INT32


def some_points(count, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
        rng.integers(0, 50, count).astype(np.int32),
        rng.random(count, dtype=np.float32),
    )


def a_map(count, seed=0):
    return InstanceMap(*(torch.from_numpy(array) for array in some_points(count, seed)))


def test_one_point_byte_by_byte():
    message = make_cloud_message(
        HEADER,
        np.array([[1.0, 2.0, 3.0]], np.float32),
        np.array([[10, 20, 30]], np.uint8),
        np.array([7], np.int32),
        np.array([0.5], np.float32),
    )
    assert bytes(message.data) == struct.pack("<fffIif", 1.0, 2.0, 3.0, 0x000A141E, 7, 0.5)
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 1, 24, 24)
    assert (message.is_dense, message.is_bigendian) == (True, False)
    fields = [(field.name, field.offset, field.datatype, field.count) for field in message.fields]
    assert fields == [
        ("x", 0, FLOAT, 1), ("y", 4, FLOAT, 1), ("z", 8, FLOAT, 1), ("rgb", 12, FLOAT, 1), ("instance_id", 16, INT, 1), ("confidence", 20, FLOAT, 1),
    ]  # fmt: skip


def test_no_points_are_a_message():
    message = deserialize_message(serialize_message(make_cloud_message(HEADER, *some_points(0))), PointCloud2)
    assert (message.width, message.height, message.row_step, len(message.data)) == (0, 1, 0, 0)
    assert len(message.fields) == 6


def test_a_cloud_survives_the_wire():
    sent = make_cloud_message(HEADER, *some_points(1000))
    assert deserialize_message(serialize_message(sent), PointCloud2) == sent


@pytest.mark.parametrize("count", [1, 8192, 20_000])
def test_points_are_moved_into_the_frame_of_the_header(count):
    points, *rest = some_points(count)
    x, y, z = xyz_of(make_cloud_message(HEADER, points, *rest, TURNED)).T
    np.testing.assert_allclose(x, 10 - points[:, 1], atol=1e-5)
    np.testing.assert_allclose(y, points[:, 0], atol=1e-5)
    np.testing.assert_array_equal(z, points[:, 2])


def test_two_messages_share_no_memory():
    first, second = (make_cloud_message(HEADER, *some_points(10, seed)) for seed in (1, 2))
    assert bytes(first.data) != bytes(second.data)


def test_a_map_in_the_cameras_colours_and_in_the_instances():
    scene = a_map(300)
    camera, instance = (rgb_of(make_map_cloud(HEADER, scene, np.eye(4), name)) for name in ("camera", "instance"))
    np.testing.assert_array_equal(camera, scene.colors.numpy())
    np.testing.assert_array_equal(instance, compute_colors(scene.instance_ids.numpy()))


def test_some_rows_of_a_map():
    scene, rows = a_map(100), np.array([3, 5, 8])
    message = make_map_cloud(HEADER, scene, np.eye(4), "camera", rows)
    np.testing.assert_array_equal(xyz_of(message), scene.points.numpy()[rows])
    np.testing.assert_array_equal(rgb_of(message), scene.colors.numpy()[rows])


def test_colours_of_ids_small_and_large():
    ids = np.array([0, 1, 2**31 - 1, 5, 2**20, 0], np.int32)
    for part in (ids, ids[[0, 1, 3]], ids[:0]):
        np.testing.assert_array_equal(paint_by_instance(np.zeros((len(part), 3), np.uint8), part), compute_colors(part))
    assert tuple(paint_by_instance(np.zeros((1, 3), np.uint8), np.zeros(1, np.int32))[0]) == UNLABELLED


def test_a_map_that_fits_is_left_as_it_is():
    points = a_map(100).points
    assert choose_rows(points, grain=0.02, voxel=0.0, max_bytes=100 * POINT_STEP) == slice(None)


def test_a_coarser_voxel_thins():
    points = a_map(1000).points
    rows = choose_rows(points, grain=0.02, voxel=0.7, max_bytes=1 << 20)
    np.testing.assert_array_equal(rows, find_first_in_voxels(points, 0.7))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2000), st.integers(192, 20_000), st.sampled_from([0.0, 0.05, 0.3]), st.integers(0, 9))
def test_a_capped_map_fits_and_is_the_finest_that_does(count, max_bytes, voxel, seed):
    points = a_map(count, seed).points
    thinned = [np.arange(count)] if voxel < 0.02 else [find_first_in_voxels(points, voxel)]
    edge = max(voxel, 0.02)
    while len(thinned[-1]) * POINT_STEP > max_bytes:
        edge *= 2
        thinned.append(find_first_in_voxels(points, edge))
    np.testing.assert_array_equal(np.arange(count)[choose_rows(points, 0.02, voxel, max_bytes)], thinned[-1])


def test_a_cap_that_nothing_meets_is_refused():
    with pytest.raises(ValueError, match="max_bytes must be at least 192, got 191"):
        choose_rows(a_map(10).points, 0.02, 0.0, 191)


def test_sensor_msgs_py_reads_and_writes_the_same():
    theirs = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed")
    points, camera, ids, confidence = some_points(500)
    message = make_cloud_message(HEADER, points, camera, ids, confidence)
    rows = theirs.read_points(message)
    np.testing.assert_array_equal(theirs.read_points_numpy(message, ["x", "y", "z"]), points)
    np.testing.assert_array_equal(rows["instance_id"], ids)
    np.testing.assert_array_equal(rows["confidence"], confidence)
    packed = camera.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    np.testing.assert_array_equal(np.ascontiguousarray(rows["rgb"]).view(np.uint32), packed)
    made = theirs.create_cloud(HEADER, message.fields, rows)
    assert (made.data, made.fields, made.point_step, made.row_step, made.width, made.height) == (
        message.data, message.fields, message.point_step, message.row_step, message.width, message.height,
    )  # fmt: skip


def xyz_of(message):
    return np.frombuffer(message.data, "<f4").reshape(-1, 6)[:, :3]


def rgb_of(message):
    """As PCL unpacks it."""
    packed = np.frombuffer(message.data, "<u4").reshape(-1, 6)[:, 3]
    return np.stack((packed >> 16 & 255, packed >> 8 & 255, packed & 255), axis=-1)
