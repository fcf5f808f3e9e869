"""Why is there no output? The running node names the cause, for each way in which robots go silent."""

from collections import deque

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from billboards import frame
from camera_stream import Stream
from graph import LATCHED, Camera, image_message
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

BEST_EFFORT = qos_profile_sensor_data
VIEW = frame(0)[0]


def verdict(graph, *words):
    """Wait until the verdict holds the words; the verdict."""
    last = []

    def said():
        last[:] = [graph.diagnosed()[0]]
        return all(word in last[0] for word in words)

    graph.until(said, lambda: f"the verdict says {words}, it says {last}")
    return last[0]


def test_no_publisher_names_the_image_topics_that_there_are(graph):
    graph.node()
    graph.publisher(Image, "/robot/front/image_raw", wait=False)
    text = verdict(graph, "no publisher on /image", "/robot/front/image_raw")
    assert "image:=/robot/front/image_raw" in text


def test_a_topic_of_another_type_is_named_with_the_parameter_that_mends_it(graph):
    graph.node()
    graph.publisher(CompressedImage, "/image", wait=False)
    verdict(graph, "/image carries sensor_msgs/msg/CompressedImage", "image_transport")


def test_incompatible_qos_is_named_and_the_parameter_that_mends_it_does(graph):
    node = graph.node(**{"qos_overrides__/image__subscription__reliability": "reliable"})
    graph.publisher(Image, "/image", BEST_EFFORT, wait=False)
    verdict(graph, "QoS", "reliability", "qos_overrides./image.subscription.reliability", "best_effort")
    assert node.end() == 0


def test_a_publisher_that_sends_nothing(graph):
    graph.node()
    graph.publisher(Image, "/image")
    verdict(graph, "no message has come")


def test_no_camera_info(graph):
    graph.node()
    images, number = graph.publisher(Image, "/image"), iter(range(10_000))

    def send():
        images.publish(image_message(VIEW.image.numpy(), "rgb8", header(next(number))))
        return "camera_info" in graph.diagnosed()[0]

    graph.until(send, "camera_info is missed")


def test_a_depth_that_is_lost_now_and_then_hides_no_lasting_cause(graph):
    graph.node()
    camera, number, last = Camera(graph), iter(range(10_000)), deque(maxlen=15)

    def send():
        n = next(number)
        at = header(n)
        camera.send_pose(VIEW.world_from_camera.numpy(), 5_000_000_000 + n * 100_000_000)
        camera.infos.publish(info(at, width=10, height=10))  # of another camera: every image is refused
        if n % 5:
            camera.depths.publish(image_message(VIEW.depth.numpy(), "32FC1", at))
        camera.images.publish(image_message(VIEW.image.numpy(), "rgb8", at))
        last.append(graph.diagnosed()[0])
        return len(last) == last.maxlen and all("images are refused" in text for text in last)

    graph.until(send, lambda: f"the lasting cause is named, it says {last}")


def header(number):
    from graph import time_of
    from std_msgs.msg import Header

    return Header(stamp=time_of(5_000_000_000 + number * 100_000_000), frame_id="camera")


def test_no_transform_names_the_frames_that_are_known(graph):
    graph.node()
    camera = Camera(graph, world="somewhere", frame_id="base")  # TF is of another frame than the images' "camera"
    camera.send_pose(VIEW.world_from_camera.numpy(), 5_000_000_000)
    number = iter(range(10_000))

    def send():
        at = header(next(number))
        camera.depths.publish(image_message(VIEW.depth.numpy(), "32FC1", at))
        camera.infos.publish(info(at))
        camera.images.publish(image_message(VIEW.image.numpy(), "rgb8", at))
        text = graph.diagnosed()[0]
        return "no pose" in text and "camera" in text

    graph.until(send, "the missing transform is named")


def info(at, **changes):
    from graph import info_message

    message = info_message(VIEW, at)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_tf_that_only_the_node_itself_publishes_is_no_publisher(graph):
    graph.node()
    images, infos, depths = (
        graph.publisher(k, t) for k, t in ((Image, "/image"), (CameraInfo, "/camera_info"), (Image, "/depth"))
    )
    number = iter(range(10_000))

    def send():
        at = header(next(number))
        infos.publish(info(at))
        depths.publish(image_message(VIEW.depth.numpy(), "32FC1", at))
        images.publish(image_message(VIEW.image.numpy(), "rgb8", at))
        return "no pose: no publisher on /tf" in graph.diagnosed()[0]

    graph.until(send, "TF is missed")


def test_missing_weights_or_masks_are_a_fault_that_configure_tells(graph, tmp_path):
    graph.node(ready=False, masks__kind="precomputed", masks__precomputed__folder=str(tmp_path / "nothing"))
    verdict(graph, "not configured", "nothing")


def test_sim_time_without_a_clock(graph):
    graph.node(use_sim_time=True)
    images = graph.publisher(Image, "/image")

    def send():
        images.publish(image_message(VIEW.image.numpy(), "rgb8", header(0)))
        return "/clock" in graph.diagnosed()[0]

    graph.until(send, "the missing clock is named")


def test_a_compressed_image_and_an_odometry_topic_do_as_well(graph):
    import cv2
    import numpy as np

    graph.node(image_transport="compressed", depth_transport="compressedDepth", pose_source="odometry")
    images = graph.publisher(CompressedImage, "/image/compressed")
    depths = graph.publisher(CompressedImage, "/depth/compressedDepth")
    infos, odometry = graph.publisher(CameraInfo, "/camera_info"), graph.publisher(Odometry, "/odom")
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    number = iter(range(10_000))
    millimetres = (VIEW.depth.numpy() * 1000).round().astype(np.uint16)
    png = bytes(12) + cv2.imencode(".png", millimetres)[1].tobytes()
    jpeg = cv2.imencode(".jpg", VIEW.image.numpy()[..., ::-1])[1].tobytes()

    def send():
        at = header(next(number))
        moved = Odometry(header=at, child_frame_id="camera")
        moved.header.frame_id = "odom"
        moved.pose.pose.orientation.w = 1.0
        odometry.publish(moved)
        at = header(next(number) - 1)
        infos.publish(info(at))
        depths.publish(CompressedImage(header=at, format="16UC1; compressedDepth png", data=list(png)))
        images.publish(CompressedImage(header=at, format="jpeg", data=list(jpeg)))
        graph.diagnosed()
        return len(pictures) >= 3

    graph.until(send, "compressed images come out")
    assert set(pictures[-1].data) != {0}


def test_a_robot_whose_odometry_is_best_effort_and_tree_is_static(graph):
    """odom -> base comes as a topic, base -> camera as a static transform."""
    import numpy as np
    from geometry_msgs.msg import PoseStamped, Quaternion, Transform, TransformStamped, Vector3
    from graph import pose_of
    from tf2_msgs.msg import TFMessage

    graph.node(pose_source="odometry")
    turn = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    edge = TransformStamped(
        header=header(0), child_frame_id="camera", transform=Transform(translation=Vector3(z=1.0), rotation=turn)
    )
    edge.header.frame_id = "base"
    static = graph.publisher(TFMessage, "/tf_static", LATCHED)
    static.publish(TFMessage(transforms=[edge]))
    images, depths = graph.publisher(Image, "/image"), graph.publisher(Image, "/depth")
    infos, odometry = (
        graph.publisher(CameraInfo, "/camera_info"),
        graph.publisher(Odometry, "/odom", QoSProfile(depth=5)),
    )
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    tf = graph.listen(TFMessage, "/tf")
    number = iter(range(10_000))

    def send():
        at = header(next(number))
        moved = Odometry(header=header(0), child_frame_id="base")
        moved.header.stamp, moved.header.frame_id = at.stamp, "odom"
        moved.pose.pose.position.x, moved.pose.pose.orientation.w = 2.0, 1.0
        odometry.publish(moved)
        infos.publish(info(at))
        depths.publish(image_message(VIEW.depth.numpy(), "32FC1", at))
        images.publish(image_message(VIEW.image.numpy(), "rgb8", at))
        graph.diagnosed()
        return len(poses) >= 2 and tf

    graph.until(send, "frames come out")
    pose = pose_of(poses[-1].pose)
    assert pose[:3, 3] == pytest.approx([2.0, 0.0, 1.0])
    assert pose[:3, 2] == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)  # the camera looks along the robot's x
    edges = [t for message in tf for t in message.transforms]
    assert {(t.header.frame_id, t.child_frame_id) for t in edges} == {
        ("map", "base")
    }  # the camera has a parent already
    assert pose_of(edges[-1].transform)[:3, 3] == pytest.approx([2.0, 0.0, 0.0])
    assert pose_of(edges[-1].transform)[:3, :3] == pytest.approx(np.eye(3), abs=1e-9)


def test_all_is_well_is_said_too(graph):
    graph.node()
    Stream(graph).through(4)
    verdict(graph, "OK")
