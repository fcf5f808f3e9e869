"""Why is there no output? The running node names the cause, for each way in which robots go silent."""

from collections import deque
from itertools import count

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from billboards import frame
from geometry_msgs.msg import PoseStamped, Quaternion, Transform, TransformStamped, Vector3
from graph import LATCHED, Camera, image_message, info_message, pose_of, time_of, transform_of
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

BEST_EFFORT = qos_profile_sensor_data
VIEW = frame(0)[0]


def verdict(graph, *words, send=lambda: None):
    """Wait until the verdict holds the words, and send something before each look; the verdict."""
    last = []

    def said():
        send()
        last[:] = [graph.diagnosed()[0]]
        return all(word in last[0] for word in words)

    graph.until(said, lambda: f"the verdict says {words}, it says {last}")
    return last[0]


def test_each_cause_is_named_until_the_node_has_all_that_it_needs(graph):
    graph.node()
    graph.publisher(Image, "/robot/front/image_raw", wait=False)
    text = verdict(graph, "no publisher on /image", "/robot/front/image_raw")
    assert "image:=/robot/front/image_raw" in text

    with rclpy.Context() as other:  # one process has one type for a topic
        node = rclpy.create_node("other", context=other)
        node.create_publisher(CompressedImage, "/image", 1)
        verdict(graph, "/image carries sensor_msgs/msg/CompressedImage", "image_transport")
        node.destroy_node()

    publishers, numbers = [graph.publisher(Image, "/image")], count()

    def send():
        at = header(next(numbers))
        pose = transform_of(VIEW.world_from_camera.numpy(), Header(stamp=at.stamp, frame_id="map"), "camera")
        messages = {
            Image: image_message(VIEW.image.numpy(), "rgb8", at), CameraInfo: info(at),
            TFMessage: TFMessage(transforms=[pose]),
        } | {"/depth": image_message(VIEW.depth.numpy(), "32FC1", at)}  # fmt: skip
        for publisher in reversed(publishers):
            publisher.publish(messages.get(publisher.topic_name) or messages[publisher.msg_type])

    verdict(graph, "no message has come")
    verdict(graph, "no camera_info: no publisher on /camera_info", send=send)
    publishers.append(graph.publisher(CameraInfo, "/camera_info"))
    verdict(graph, "no depth: no publisher on /depth", send=send)
    publishers.append(graph.publisher(Image, "/depth"))
    verdict(graph, "no pose: no publisher on /tf", send=send)  # the node itself publishes there
    tf = graph.publisher(TFMessage, "/tf", QoSProfile(depth=100))
    tf.publish(TFMessage(transforms=[transform_of(np.eye(4), header(0, "somewhere"), "base")]))
    verdict(graph, "no pose", "camera", "somewhere", send=send)
    publishers.append(tf)
    verdict(graph, "older than this node's clock", send=lambda: has_time(graph) and send())


def has_time(graph):
    """True when the node is done with all images that it has received: it is not to drop any."""
    values = graph.diagnosed()[1]
    done = sum(int(values[f"frames {end}"]) for end in ("processed", "dropped", "rejected"))
    return done == int(values["frames received"])


def test_incompatible_qos_is_named_and_the_parameter_that_mends_it_does(graph):
    node = graph.node(**{"qos_overrides__/image__subscription__reliability": "reliable"})
    graph.publisher(Image, "/image", BEST_EFFORT, wait=False)
    verdict(graph, "QoS", "reliability", "qos_overrides./image.subscription.reliability", "best_effort")
    assert node.end() == 0


def test_a_depth_that_is_lost_now_and_then_hides_no_lasting_cause(graph):
    graph.node()
    camera, number, last = Camera(graph), count(), deque(maxlen=10)

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


def header(number, frame_id="camera"):
    return Header(stamp=time_of(5_000_000_000 + number * 100_000_000), frame_id=frame_id)


def info(at, **changes):
    message = info_message(VIEW, at)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_sim_time_without_a_clock(graph):
    graph.node(use_sim_time=True)
    images = graph.publisher(Image, "/image")

    def send():
        images.publish(image_message(VIEW.image.numpy(), "rgb8", header(0)))
        return "/clock" in graph.diagnosed()[0]

    graph.until(send, "the missing clock is named")


def test_a_qos_that_does_not_match_is_named_on_whatever_topic(graph):
    node = graph.node()
    volatile = QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE)
    graph.publisher(TFMessage, "/tf_static", volatile, wait=False)
    said = "QoS: the publisher of /tf_static does not offer this node's durability"
    graph.until(lambda: said in node.text, "the policy is named in the log", node)
    images = graph.publisher(Image, "/image")

    def send():
        images.publish(image_message(VIEW.image.numpy(), "rgb8", header(0)))
        return graph.diagnosed()[0].startswith(said)

    graph.until(send, "and in diagnostics", node)


def test_a_compressed_image_and_an_odometry_topic_do_as_well(graph):
    graph.node(image_transport="compressed", depth_transport="compressedDepth", pose_source="odometry")
    images = graph.publisher(CompressedImage, "/image/compressed")
    depths = graph.publisher(CompressedImage, "/depth/compressedDepth")
    infos, odometry = graph.publisher(CameraInfo, "/camera_info"), graph.publisher(Odometry, "/odom")
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    number = count()
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


def test_missing_weights_or_masks_are_a_fault_that_configure_tells(graph, tmp_path):
    graph.node(ready=False, masks__kind="precomputed", masks__precomputed__folder=str(tmp_path / "nothing"))
    verdict(graph, "not configured", "nothing")


def test_a_robot_whose_odometry_is_best_effort_and_tree_is_static(graph):
    """odom -> base comes as a topic, base -> camera as a static transform."""
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
    number = count()

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
