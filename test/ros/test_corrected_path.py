"""A SLAM package corrects its path: the map and ~/path move as a recording's do, and poses to come fit them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from billboards import frame
from geometry_msgs.msg import PoseStamped
from graph import LATCHED, RELIABLE, Camera, cloud_of, pose_of, stamp_of, time_of
from nav_msgs.msg import Path
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from moonseg3r_core import build_segmenter, load_config
from moonseg3r_core.sources.corrected_path import PathFollower
from moonseg3r_ros.conversions.poses import make_pose

START, PERIOD = 1_700_000_000_000_000_000, 100_000_000
SETTINGS = {"reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu"}
TURNED = torch.tensor([[0, -1, 0, 0.5], [1, 0, 0, 0.0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
SEEN = [frame(t, (0.12 * t - 0.2, 0.0, 0.0))[0] for t in range(4)]
STAMPS = [START + t * PERIOD for t in range(4)]
# From the third image on all is turned in the map, and so is the past.
WALK = [
    replace(view, stamp=stamp * 1e-9, world_from_camera=(TURNED if t > 1 else torch.eye(4).double()) @ view.world_from_camera)
    for t, (view, stamp) in enumerate(zip(SEEN, STAMPS, strict=True))
]  # fmt: skip


def make_path(count):
    """The path of so many images, turned from the third on."""
    turned = TURNED if count > 2 else torch.eye(4).double()
    header = Header(frame_id="map")
    poses = [
        PoseStamped(
            header=Header(stamp=time_of(stamp), frame_id="map"),
            pose=make_pose((turned @ view.world_from_camera).numpy()),
        )
        for view, stamp in zip(SEEN[:count], STAMPS, strict=False)
    ]
    return Path(header=header, poses=poses)


def test_the_map_and_the_path_follow_a_corrected_path(graph):
    node = graph.node(correction_source="path", map_rate=50.0, remap=["corrected_path:=/slam/path"])
    camera, corrected = Camera(graph), graph.publisher(Path, "/slam/path", RELIABLE)
    poses, paths = graph.listen(PoseStamped, "/moonseg3r/pose"), graph.listen(Path, "/moonseg3r/path", LATCHED)
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    follower, segmenter = PathFollower(), build_segmenter(load_config(overrides=SETTINGS))
    for t, (view, stamp) in enumerate(zip(WALK, STAMPS, strict=True)):
        corrected.publish(make_path(t + 1))
        heard = f"1 connected, {t + 1} messages"
        graph.until(lambda said=heard: graph.diagnosed()[1]["/slam/path"] == said, "the path is heard", node)
        camera.send(view, stamp)
        graph.until(lambda s=stamp: poses and stamp_of(poses[-1].header) == s, f"the pose of image {t}", node)
        follower.add(make_path(t + 1))
        segmenter.step(replace(view, moves=follower.take_moves()))
        np.testing.assert_allclose(pose_of(poses[-1].pose), view.world_from_camera.numpy(), atol=1e-6)
    graph.until(lambda: maps and stamp_of(maps[-1].header) == STAMPS[-1], "the last map", node)
    cloud, scene = cloud_of(maps[-1]), segmenter.snapshot()
    np.testing.assert_allclose(np.stack([cloud[axis] for axis in "xyz"], 1), scene.points.numpy(), atol=1e-5)
    np.testing.assert_array_equal(cloud["instance_id"], scene.instance_ids)
    graph.until(lambda: len(paths[-1].poses) == len(WALK), "the whole path", node)
    for pose, view in zip(paths[-1].poses, SEEN, strict=True):
        np.testing.assert_allclose(pose_of(pose.pose), (TURNED @ view.world_from_camera).numpy(), atol=1e-6)
    assert graph.diagnosed()[1]["map jumps"] == "0"
