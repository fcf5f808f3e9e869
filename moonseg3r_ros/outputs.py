"""The publishers: results of the core as messages. Without a subscriber, only TF, pose and latched messages are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.publisher import Publisher

from moonseg3r_core import Config, Frame, FrameResult, InstanceMap, make_frame_cloud
from moonseg3r_ros.conversions.clouds import choose_rows, make_map_cloud
from moonseg3r_ros.conversions.images import make_overlay_message, make_segmentation_message
from moonseg3r_ros.conversions.instances import make_detections, make_instance_array
from moonseg3r_ros.conversions.markers import InstanceMarkers
from moonseg3r_ros.conversions.paths import CameraPath
from moonseg3r_ros.conversions.poses import make_header, make_pose
from moonseg3r_ros.conversions.stamps import FrameStamps
from moonseg3r_ros.conversions.times import make_time
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.frames.transform_publisher import Edge, TransformPublisher
from moonseg3r_ros.interface import OUTPUTS
from moonseg3r_ros.parameters import ParameterStore

MAX_MAP_SHARE = 0.25  # of the worker's time, for publishing the map


@dataclass(frozen=True)
class LocalizedFrame:
    """A processed frame with its place in the map: all that is published of it."""

    frame: Frame
    result: FrameResult
    stamp_ns: int
    camera_frame: str
    map_frame: str  # the frame of all that is published
    map_from_world: np.ndarray
    map_from_camera: np.ndarray
    is_camera_free: bool  # TF places the camera by no other edge than map -> camera
    corrections: Sequence[Edge]

    @property
    def is_held(self) -> bool:
        """True when the frame has no points of its own, and the last good pose."""
        return bool(self.result.geometry.held)


class Outputs:
    """All publishers of the node. `publish_frame` is called for every frame, `publish_map` at `map_rate`."""

    def __init__(self, node: Node, parameters: ParameterStore, warnings: ThrottledWarnings) -> None:
        self.node, self.parameters = node, parameters
        self._publishers: dict[str, Publisher] = {}
        self.transforms = TransformPublisher(lambda message: self.publish("/tf", message))
        try:
            self._create_publishers(warnings)
        except Exception:  # QoS overrides that are not possible
            self.close()
            raise
        self._markers = InstanceMarkers()
        self.reset_path()

    def _create_publishers(self, warnings: ThrottledWarnings) -> None:
        for name, topic in OUTPUTS.items():
            if topic.message is not None:
                self._publishers[name] = self.node.create_publisher(topic.message, name, **topic.make_qos())
            elif topic.package == "moonseg3r_msgs":
                fault = f"the package {topic.package} is not built; `colcon build` in its workspace"
                warnings.warn("messages", f"{name} is off: {fault}")

    def reset_path(self) -> None:
        """Start a new path."""
        self._path = CameraPath()

    def close(self) -> None:
        """Destroy all publishers."""
        for publisher in self._publishers.values():
            self.node.destroy_publisher(publisher)
        self._publishers.clear()

    def publish(self, name: str, message: Any) -> None:
        """Publish on a topic of the table; do nothing after `close`."""
        if name in self._publishers:
            self._publishers[name].publish(message)

    def publish_frame(self, localized: LocalizedFrame) -> None:
        """Publish what belongs to one frame, the poses first."""
        settings, stamp = self.parameters.settings, make_time(localized.stamp_ns)
        in_map, in_camera = make_header(stamp, localized.map_frame), make_header(stamp, localized.camera_frame)
        if localized.is_camera_free and settings.publish_tf:
            edge = Edge(localized.map_frame, localized.camera_frame, localized.map_from_camera)
            self.transforms.publish(edge, localized.stamp_ns)
        self.transforms.set_corrections(localized.corrections)
        self.publish("~/pose", PoseStamped(header=in_map, pose=make_pose(localized.map_from_camera)))
        ids = localized.result.instance_ids.cpu().numpy()
        if self._has_subscriber("~/segmentation"):
            self.publish("~/segmentation", make_segmentation_message(in_camera, ids))
        if self._has_subscriber("~/overlay"):
            self.publish("~/overlay", make_overlay_message(in_camera, localized.frame.host_image, ids))
        self._path.follow(localized.stamp_ns, localized.result.geometry, settings.path_length)
        if localized.is_held:
            return
        if self._has_subscriber("~/cloud"):
            scene = make_frame_cloud(localized.frame, localized.result, settings.cloud_points)
            self.publish("~/cloud", make_map_cloud(in_map, scene, localized.map_from_world, settings.map_colors))

    def publish_map(
        self, scene: InstanceMap, merged: dict[int, int], map_frame: str, map_from_world: np.ndarray, stamp_ns: int,
        stamps: FrameStamps, config: Config,
    ) -> int:  # fmt: skip
        """Publish the whole map after the image of that stamp; return the number of published instances."""
        settings = self.parameters.settings
        in_map = make_header(make_time(stamp_ns), map_frame)
        rows = choose_rows(scene.points, config.map.voxel, settings.map_voxel, settings.map_max_bytes)
        self.publish("~/map", make_map_cloud(in_map, scene, map_from_world, settings.map_colors, rows))
        shown = [stamps.stamp_instance(i) for i in scene.published(config.map.min_observations, config.map.min_points)]
        if "~/instances" in self._publishers:
            queries = {id: q.numpy() for id, q in scene.descriptors.items()} if settings.descriptors else {}
            self.publish("~/instances", make_instance_array(in_map, shown, map_from_world, merged, queries))
        if "~/detections" in self._publishers:
            self.publish("~/detections", make_detections(in_map, shown, map_from_world))
        self.publish("~/markers", self._markers.update(in_map, shown, map_from_world))
        self.publish("~/path", self._path.make_message(in_map, map_from_world))
        return len(shown)

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The full names of the topics that have a subscriber."""
        return tuple(p.topic_name for p in list(self._publishers.values()) if p.get_subscription_count())

    def _has_subscriber(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0


class PublishRate:
    """Decides when the map is due: after every change, `rate` times a second and for MAX_MAP_SHARE of the time at most."""

    def __init__(self) -> None:
        self._last, self._seconds, self._changed = -1e9, 0.0, False

    def mark_changed(self) -> None:
        """Note that the map has changed."""
        self._changed = True

    def compute_wait(self, rate: float) -> float | None:
        """Compute the seconds until the map is due; None when nothing has changed."""
        pause = max(1 / rate, self._seconds / MAX_MAP_SHARE - self._seconds)
        return max(0.0, self._last + pause - monotonic()) if self._changed else None

    def mark_published(self, seconds: float) -> None:
        """Note that the map was published, which took `seconds`."""
        self._last, self._seconds, self._changed = monotonic(), seconds, False
