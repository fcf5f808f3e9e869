"""Topics of one camera on the live graph: the camera_info beside an image, and depth of a camera of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from billboards import frame
from graph import LATCHED, RELIABLE, cloud_of, image_message, info_message, time_of, transform_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

START = 5_000_000_000
COLOR, DEPTH = "/cam/color/image_raw", "/cam/depth/image_rect_raw"
REMAPPED = [f"image:={COLOR}", f"depth:={DEPTH}"]
SHIFT_PX = 2  # of a wall at 2 m, seen by the depth camera beside the colour camera


def header(frame_id):
    return Header(stamp=time_of(START), frame_id=frame_id)


class TwoCameras:
    """A colour camera and a depth camera to its right look at a wall; each has its frame and its camera_info."""

    def __init__(self, graph, node):
        self.view = replace(frame(0)[0], depth=torch.full(frame(0)[0].size, 2.0))
        focal = float(self.view.intrinsics[0, 0])
        self.color_from_depth = np.eye(4)
        self.color_from_depth[0, 3] = SHIFT_PX * 2.0 / focal
        self.graph, self.node = graph, node
        types = {COLOR: Image, DEPTH: Image, "/cam/color/camera_info": CameraInfo, "/cam/depth/camera_info": CameraInfo}
        self.publishers = {topic: graph.publisher(kind, topic, wait=False) for topic, kind in types.items()}
        self.tf, self.static = (
            graph.publisher(TFMessage, "/tf", RELIABLE),
            graph.publisher(TFMessage, "/tf_static", LATCHED),
        )
        self.clouds = graph.listen(PointCloud2, "/moonseg3r/cloud", RELIABLE)
        graph.until(
            lambda: all(self.connected(topic) for topic in [*types, "/tf", "/tf_static"]), "all are heard", node
        )

    def connected(self, topic):
        return int(self.graph.diagnosed()[1].get(topic, "0 connected").split()[0])

    def send(self, with_extrinsics=True):
        if with_extrinsics:
            fixed = transform_of(self.color_from_depth, header("color_optical"), "depth_optical")
            self.static.publish(TFMessage(transforms=[fixed]))
        self.tf.publish(TFMessage(transforms=[transform_of(np.eye(4), header("map"), "color_optical")]))
        wider = replace(self.view, intrinsics=self.view.intrinsics + torch.diag(torch.tensor([1e-4, 1.0, 0.0])))
        self.publishers["/cam/color/camera_info"].publish(info_message(self.view, header("color_optical")))
        self.publishers["/cam/depth/camera_info"].publish(info_message(wider, header("depth_optical")))
        self.publishers[DEPTH].publish(image_message(self.view.depth.numpy(), "32FC1", header("depth_optical")))
        self.publishers[COLOR].publish(image_message(self.view.image.numpy(), "rgb8", header("color_optical")))


def test_the_infos_beside_remapped_images_register_the_depth(graph):
    node = graph.node(remap=REMAPPED, use_sim_time=True, max_future=0.0)
    cameras = TwoCameras(graph, node)
    cameras.send()
    points = cloud_of(graph.until(lambda: cameras.clouds, "the cloud", node)[0])
    height, width = cameras.view.size
    assert len(points) == height * (width - SHIFT_PX)
    assert np.allclose(points["z"], 2.0, atol=1e-5)


def test_depth_that_nothing_registers_is_refused_with_the_remedy(graph):
    node = graph.node(remap=REMAPPED)
    cameras = TwoCameras(graph, node)
    cameras.send(with_extrinsics=False)
    graph.until(lambda: "align_depth.enable:=true" in node.text, "the remedy is said", node)
    graph.until(lambda: "align_depth.enable:=true" in graph.diagnosed()[0], "the diagnosis names it", node)
    assert not cameras.clouds


@pytest.mark.parametrize(
    ("remap", "parameters", "infos"),
    [
        ([], {}, ("/camera_info", "/depth/camera_info")),
        (REMAPPED, {}, ("/cam/color/camera_info", "/cam/depth/camera_info")),
        ([*REMAPPED, "camera_info:=/k", "depth/camera_info:=/d"], {}, ("/k", "/d")),
        (["__ns:=/robot1", "image:=cam/rgb/image"], {}, ("/robot1/cam/rgb/camera_info", "/robot1/depth/camera_info")),
        (["image/compressed:=/cam/image/compressed"], {"image_transport": "compressed"},
         ("/cam/camera_info", "/depth/camera_info")),
    ],
)  # fmt: skip
def test_which_camera_infos_are_read(graph, remap, parameters, infos):
    node = graph.node(remap=remap, **parameters)
    graph.until(lambda: set(infos) <= set(graph.diagnosed()[1]), f"{infos} are read", node)
