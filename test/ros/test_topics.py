"""Which topics a launch file lets the node read, and what it tells it of them."""

import numpy as np
import pytest
import torch
from rosbags.rosbag2 import StoragePlugin, Writer

from moonseg3r_core import Frame, InputError
from moonseg3r_core.sources.bag_reader import TYPES
from moonseg3r_core.sources.write_bag import make_image, make_transform, write_bag
from moonseg3r_ros.topics import derive_parameters, find_bag_topics, make_remappings


def frames(**extra):
    image = torch.zeros(4, 6, 3, dtype=torch.uint8)
    return [Frame(n, n / 10, image, **extra) for n in range(2)]


def test_the_topics_of_a_bag_are_found(tmp_path):
    depth, k, pose = torch.ones(4, 6), torch.eye(3), torch.eye(4, dtype=torch.float64)
    write_bag(frames(depth=depth, intrinsics=k, world_from_camera=pose), tmp_path / "all.mcap", "jpeg")
    assert find_bag_topics(tmp_path / "all.mcap") == {
        "image": "/camera/color/image_raw/compressed",
        "depth": "/camera/depth/image_raw",
        "camera_info": "/camera/color/camera_info",
    }
    write_bag(frames(), tmp_path / "bare.mcap", "raw")
    assert find_bag_topics(tmp_path / "bare.mcap") == {"image": "/camera/color/image_raw"}


def test_a_bag_of_two_robots_needs_a_name(tmp_path):
    stamp = 100 * 10**9
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for name, x in (("r1", 0.0), ("r2", 50.0)):
            pose = torch.eye(4, dtype=torch.float64)
            pose[0, 3] = x
            transforms = TYPES.types["tf2_msgs/msg/TFMessage"]([make_transform(pose, stamp)])
            image = make_image(np.zeros((4, 6, 3), np.uint8), "rgb8", stamp)
            for topic, message in ((f"/{name}/tf", transforms), (f"/{name}/image", image)):
                connection = writer.add_connection(topic, message.__msgtype__, typestore=TYPES)
                writer.write(connection, stamp, TYPES.serialize_cdr(message, message.__msgtype__))
    with pytest.raises(InputError, match=r"2 robots, r1 and r2 .*choose one with --robot r1"):
        find_bag_topics(tmp_path / "bag")
    assert find_bag_topics(tmp_path / "bag", "r2") == {"image": "/r2/image", "tf": "/r2/tf"}


def test_a_bag_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"none.mcap does not exist"):
        find_bag_topics(tmp_path / "none.mcap")


def test_the_compressed_topic_of_an_image_goes_with_it():
    topics = {"image": "/cam/image_raw", "depth": "/cam/depth/compressedDepth", "camera_info": "/cam/info"}
    assert make_remappings(topics) == [
        ("image", "/cam/image_raw"),
        ("image/compressed", "/cam/image_raw/compressed"),
        ("depth", "/cam/depth"),
        ("depth/compressedDepth", "/cam/depth/compressedDepth"),
        ("camera_info", "/cam/info"),
    ]
    robot = {"depth_camera_info": "/cam/depth/info", "tf": "/r1/tf", "tf_static": "/r1/tf_static"}
    names = ("depth/camera_info", "/tf", "/tf_static")
    assert make_remappings(robot) == list(zip(names, robot.values(), strict=True))


@pytest.mark.parametrize(
    ("topics", "told"),
    [
        ({}, {}),
        ({"image": "/cam/image_raw", "depth": "/cam/depth"}, {}),
        ({"image": "/cam/image_raw/compressed"}, {"image_transport": "compressed"}),
        ({"depth": "/cam/depth/compressedDepth"}, {"depth_transport": "compressedDepth"}),
        ({"image": "/compressed_cam/image", "odom": "/odometry"}, {"pose_source": "odometry"}),
        ({"corrected_path": "/rtabmap/mapPath"}, {"correction_source": "path"}),
    ],
)
def test_a_topic_says_its_transport_and_odometry_is_the_source_of_poses(topics, told):
    assert derive_parameters(topics) == told
