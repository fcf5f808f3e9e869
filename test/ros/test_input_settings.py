"""What numbers mean, live: a camera frame with the axes of a body, and depth in another unit."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from camera_stream import START
from geometry_msgs.msg import PoseStamped
from graph import LATCHED, Camera, cloud_of, pose_of, stamp_of
from sensor_msgs.msg import PointCloud2

from moonseg3r_core import SyntheticSequence
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.sources.axes import FRAME_FROM_OPTICAL

PERIOD = 100_000_000


@pytest.fixture(scope="module")
def room():
    return list(SyntheticSequence(7, 40, 120, 160)[:24])


def as_body(frame):
    """The frame whose pose is that of the body axes of its camera."""
    pose = frame.world_from_camera.clone()
    pose[:3, :3] = pose[:3, :3] @ torch.from_numpy(FRAME_FROM_OPTICAL["body"]).T
    return replace(frame, world_from_camera=pose)


def send_until_told(graph, node, frames, words):
    """Send frames until the verdict holds the words; the camera, and the stamp of the next frame."""
    camera, stamps = Camera(graph), [START]

    def told():
        camera.send(next(frames), stamps[-1])
        stamps.append(stamps[-1] + PERIOD)
        return words in graph.diagnosed()[0]

    graph.until(told, f"the verdict says {words}", node)
    return camera, stamps[-1]


def test_a_frame_with_the_axes_of_a_body_is_read_and_published_as_such(graph, room):
    node = graph.node(input__camera_axes="body")
    camera = Camera(graph)
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    camera.send(as_body(room[0]), START)
    graph.until(lambda: poses and maps and maps[-1].width, "the frame is mapped", node)
    np.testing.assert_allclose(pose_of(poses[-1].pose), as_body(room[0]).world_from_camera, atol=1e-6)
    seen = transform(unproject(room[0].depth, room[0].intrinsics), room[0].world_from_camera).reshape(-1, 3).numpy()
    cloud = cloud_of(maps[-1])
    points = np.stack([cloud[axis] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(points.min(0), seen.min(0), atol=0.05)
    np.testing.assert_allclose(points.max(0), seen.max(0), atol=0.05)


def test_a_frame_that_is_not_optical_is_told_and_maps_nothing_until_it_is_set(graph, room):
    node = graph.node()
    frames = cycle([as_body(frame) for frame in room])
    camera, stamp = send_until_told(graph, node, frames, "with input.camera_axes=body it agrees to")
    graph.until(lambda: "implausible input" in node.text, "the log has it too", node)  # a moment after diagnostics
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    assert all(r.successful for r in graph.set(input__camera_axes="body"))
    camera.send(next(frames), stamp)
    graph.until(lambda: stamp in [stamp_of(pose.header) for pose in poses], "the frame comes out", node)


def test_depth_in_another_unit_is_told(graph, room):
    node = graph.node()
    frames = cycle([replace(frame, depth=frame.depth * 1000) for frame in room])
    send_until_told(graph, node, frames, "with input.depth_scale=1000 it agrees to")
