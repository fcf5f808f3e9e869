"""A localization node beside poses that are given in odometry: the map is in its `map` at once, and moves with it."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from billboards import frame
from geometry_msgs.msg import PoseStamped
from graph import LATCHED, Camera, cloud_of, pose_of, stamp_of, transform_of
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from moonseg3r_core import build_segmenter, load_config

START, PERIOD = 1_700_000_000_000_000_000, 100_000_000
WALK = [frame(t, (0.03 * t - 0.2, 0.01 * t, 0.0))[0] for t in range(9)]
SETTINGS = {"reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu"}


def place(x, y, degrees):
    """map from odom."""
    angle, pose = np.radians(degrees), np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:2, 3] = x, y
    return pose


@pytest.mark.parametrize("world", ["", "odom"])
def test_what_is_in_the_map_follows_localization_that_comes_and_jumps(graph, world):
    """No localization for three images, then two of its places, which differ by 0.5 m and 10 degrees."""
    places = [None] * 3 + [place(5.0, 3.0, 90.0)] * 3 + [place(5.5, 3.0, 100.0)] * 3
    node = graph.node(map_rate=50.0, world_frame=world)
    camera = Camera(graph, world="odom")
    poses, heard = graph.listen(PoseStamped, "/moonseg3r/pose"), graph.listen(TFMessage, "/tf")
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    segmenter = build_segmenter(load_config(overrides=SETTINGS))
    for t, (view, map_from_odom) in enumerate(zip(WALK, places, strict=True)):
        stamp = START + t * PERIOD
        if map_from_odom is not None:
            header = camera.header(stamp, "map")
            camera.tf.publish(TFMessage(transforms=[transform_of(map_from_odom, header, "odom")]))
            graph.until(lambda said=header: said in headers(heard), "localization is heard", node)
        camera.send(view, stamp)
        graph.until(lambda s=stamp: poses and stamp_of(poses[-1].header) == s, f"the pose of image {t}", node)
        ids = segmenter.step(view).instance_ids
        if map_from_odom is None:
            continue
        expected = map_from_odom @ view.world_from_camera.numpy()
        np.testing.assert_allclose(pose_of(poses[-1].pose), expected, atol=1e-6)
        graph.until(lambda n=t: len(pictures) == n + 1, "its picture", node)
        np.testing.assert_array_equal(np.frombuffer(pictures[-1].data, "<i4").reshape(ids.shape), ids)  # no ghosts
        graph.until(lambda s=stamp: stamp_of(maps[-1].header) == s, "its map", node)
        check_map(maps[-1], segmenter.snapshot(), map_from_odom)
        if t == 3:
            heard.clear()  # what came before the node knew of localization
    said = {
        round(e.transform.translation.x, 3) for m in list(heard) for e in m.transforms if e.child_frame_id == "odom"
    }
    assert said == {5.0, 5.5}  # localization's alone
    assert {pose.header.frame_id for pose in poses} == {"map"}
    assert "another node publishes map -> odom now, other than here by" in node.text
    assert "map -> odom jumped by" in node.text
    assert graph.diagnosed()[1]["map jumps"] == "2"


def headers(heard):
    return [edge.header for message in list(heard) for edge in message.transforms]


def check_map(message, scene, map_from_odom):
    cloud = cloud_of(message)
    found = np.stack([cloud[axis] for axis in "xyz"], 1)
    expected = scene.points.numpy() @ map_from_odom[:3, :3].T + map_from_odom[:3, 3]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(cloud["instance_id"], scene.instance_ids)
