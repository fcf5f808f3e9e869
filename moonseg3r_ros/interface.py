"""Every topic and service of the node in one table, for the node and for the documentation."""

from __future__ import annotations

import importlib
from copy import copy
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions, QoSPolicyKind

STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # for timers: a simulated clock stands still without /clock
POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


@dataclass(frozen=True)
class Topic:
    """A topic: its name, its message type `package/Name`, the name of its default QoS, and its content."""

    name: str
    type: str
    qos: str
    help: str

    @property
    def message(self) -> Any:
        """The message class; None where its package is not installed."""
        package, _, name = self.type.partition("/")
        try:
            return getattr(importlib.import_module(f"{package}.msg"), name)
        except ImportError:
            return None

    @property
    def package(self) -> str:
        return self.type.partition("/")[0]

    def make_qos(self) -> dict[str, Any]:
        """Make the QoS arguments of `create_publisher` and `create_subscription`.

        They are the default and the parameters that override it; rclpy writes these into the given profile.
        """
        return {"qos_profile": copy(QOS[self.qos]), "qos_overriding_options": QoSOverridingOptions(POLICIES)}


QOS = {
    "sensor": qos_profile_sensor_data,
    "reliable": QoSProfile(depth=10),
    "latched": QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    "tf": QoSProfile(depth=100),
    "tf_static": QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    "large": QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
}

_TOPICS_IN = (
    Topic("image", "sensor_msgs/Image", "sensor", "the camera's images, when image_transport is raw"),
    Topic("image/compressed", "sensor_msgs/CompressedImage", "sensor",
          "JPEG or PNG, when image_transport is compressed"),
    Topic("camera_info", "sensor_msgs/CameraInfo", "sensor",
          "intrinsics of the image; not remapped: the camera_info beside the image; nano, cut3r and depth do without where none"
          " is published"),
    Topic("depth", "sensor_msgs/Image", "sensor",
          "16UC1 millimetres or 32FC1 metres, registered to the image or with depth/camera_info and TF; for rgbd alone"),
    Topic("depth/compressedDepth", "sensor_msgs/CompressedImage", "sensor",
          "PNG, when depth_transport is compressedDepth"),
    Topic("depth/camera_info", "sensor_msgs/CameraInfo", "sensor",
          "registers depth of another frame than the image's, by TF; not remapped: the camera_info beside the depth"),
    Topic("odom", "nav_msgs/Odometry", "sensor", "given poses, when pose_source is odometry"),
    Topic("corrected_path", "nav_msgs/Path", "large",
          "the whole path so far, as SLAM corrects it, each pose with its own stamp; when correction_source is path"),
    Topic("/tf", "tf2_msgs/TFMessage", "tf", "given poses, and the robot's tree that carries the camera"),
    Topic("/tf_static", "tf2_msgs/TFMessage", "tf_static", "where the camera sits on the robot"),
)  # fmt: skip
_TOPICS_OUT = (
    Topic("/tf", "tf2_msgs/TFMessage", "tf", "map -> camera, stamped as the image, or map -> odom, repeated at 20 Hz"),
    Topic("~/pose", "geometry_msgs/PoseStamped", "reliable", "the camera in the map, for every frame"),
    Topic("~/path", "nav_msgs/Path", "latched", "the camera's path as its key views lie now, at map_rate"),
    Topic("~/map", "sensor_msgs/PointCloud2", "latched", "x y z rgb instance_id confidence, at map_rate"),
    Topic("~/cloud", "sensor_msgs/PointCloud2", "large", "the frame's own points, same fields; none for a held frame"),
    Topic("~/instances", "moonseg3r_msgs/InstanceArray", "latched", "every instance of the map, at map_rate"),
    Topic("~/detections", "vision_msgs/Detection3DArray", "latched", "the same, where vision_msgs is installed"),
    Topic("~/markers", "visualization_msgs/MarkerArray", "latched", "box, outline and label per instance, at map_rate"),
    Topic("~/segmentation", "sensor_msgs/Image", "large", "32SC1: the instance id of every pixel, 0 for none"),
    Topic("~/overlay", "sensor_msgs/Image", "large", "rgb8: the image under its instances' colors"),
    Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", "reliable", "rates, times, and why there is no output"),
)
INPUTS = {topic.name: topic for topic in _TOPICS_IN}
OUTPUTS = {topic.name: topic for topic in _TOPICS_OUT}
SERVICES = {
    "~/reset": "forget the map; ids start from 1 again",
    "~/save_map": "write the map to the file that `map_file` names; the former file stays whole until then",
    "~/load_map": "go on from the map in `map_file`, with the same ids",
    "~/pause": "take no more frames; subscriptions and the map stay",
    "~/resume": "take frames again",
}
