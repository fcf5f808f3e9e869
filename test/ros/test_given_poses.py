"""Color alone with the robot's own poses, as docs/ros_reference.md recommends: the map is in the odometry's metres."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from geometry_msgs.msg import PoseStamped
from graph import LATCHED, Camera, cloud_of, stamp_of
from sensor_msgs.msg import PointCloud2

from moonseg3r_core.synthetic import SyntheticSequence

START, PERIOD = 1_700_000_000_000_000_000, 100_000_000


def test_a_map_of_color_and_odometry_is_as_large_as_the_room(graph):
    node = graph.node(reconstruction__kind="nano", reconstruction__nano__pose="given", map_rate=50.0)
    camera = Camera(graph, world="odom", wait=False)  # nobody takes its depth
    needed = ("/image", "/camera_info", "/tf")
    graph.until(
        lambda: all(int(graph.diagnosed()[1].get(t, "0")[0]) for t in needed), "the node hears the camera", node
    )
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    sequence = list(SyntheticSequence(7, frames=20, height=144, width=192))
    truth = np.concatenate([points_of(frame) for frame in sequence])
    for t, frame in enumerate(sequence):
        stamp = START + t * PERIOD
        camera.send(frame, stamp)
        graph.until(lambda s=stamp: poses and stamp_of(poses[-1].header) == s, f"the pose of image {t}", node)
    graph.until(lambda: maps and len(cloud_of(maps[-1])) > 1000, "a map", node)
    cloud = cloud_of(maps[-1])
    found = np.stack([cloud[axis] for axis in "xyz"], 1)
    ratio = np.ptp(np.percentile(found, (5, 95), axis=0), axis=0) / np.ptp(
        np.percentile(truth, (5, 95), axis=0), axis=0
    )
    assert ratio.min() > 0.5, ratio
    assert ratio.max() < 2.0, ratio


def points_of(frame):
    """World points (N, 3) of every fourth pixel."""
    v, u = (part.ravel() for part in np.mgrid[0 : frame.depth.shape[0] : 4, 0 : frame.depth.shape[1] : 4])
    depth = frame.depth.numpy()[v, u]
    rays = np.stack([u, v, np.ones_like(u)], 1) @ np.linalg.inv(frame.intrinsics.double().numpy()).T
    pose = frame.world_from_camera.numpy()
    return (rays * depth[:, None])[depth > 0] @ pose[:3, :3].T + pose[:3, 3]
