"""The publishers: results of the core as messages. Without a subscriber, only TF, pose and latched messages are made."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from tf2_msgs.msg import TFMessage

from moonseg3r_core import Config, Frame, FrameResult, InstanceMap, make_frame_cloud
from moonseg3r_ros.conversions.clouds import choose_rows, make_map_cloud
from moonseg3r_ros.conversions.images import make_overlay_message, make_segmentation_message
from moonseg3r_ros.conversions.instances import make_detections, make_instance_array
from moonseg3r_ros.conversions.markers import InstanceMarkers
from moonseg3r_ros.conversions.poses import make_header, make_pose, make_transform
from moonseg3r_ros.conversions.stamps import FrameStamps
from moonseg3r_ros.conversions.times import make_time
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.interface import OUTPUTS
from moonseg3r_ros.map_frame import IDENTITY
from moonseg3r_ros.parameters import ParameterStore

MAX_MAP_SHARE = 0.25  # of the worker's time, for publishing the map


@dataclass(frozen=True)
class LocalizedFrame:
    """A processed frame with its place in the map: all that is published of it."""

    frame: Frame
    result: FrameResult
    stamp_ns: int
    map_from_world: np.ndarray
    camera_frame: str
    child: str  # the frame that map -> child places; empty: TF has the camera already
    child_from_camera: np.ndarray

    @property
    def map_from_camera(self) -> np.ndarray:
        return self.map_from_world @ self.result.geometry.world_from_camera.cpu().numpy()

    @property
    def is_held(self) -> bool:
        """True when the frame has no points of its own, and the last good pose."""
        return bool(self.result.geometry.held)


class HeldPose:
    """Keeps map -> child, the robot's frame, while frames are held: the robot's own TF moves the camera on."""

    def __init__(self) -> None:
        self._child, self._map_from_child = "", IDENTITY

    def compute_map_from_camera(self, localized: LocalizedFrame) -> np.ndarray:
        """Compute the camera's pose (4, 4) from the last good frame."""
        if localized.child in ("", localized.camera_frame):
            return localized.map_from_camera
        if localized.is_held and localized.child == self._child:
            return self._map_from_child @ localized.child_from_camera
        self._child = localized.child
        self._map_from_child = localized.map_from_camera @ np.linalg.inv(localized.child_from_camera)
        return localized.map_from_camera


class Outputs:
    """All publishers of the node. `publish_frame` is called for every frame, `publish_map` at `map_rate`."""

    def __init__(self, node: Node, parameters: ParameterStore, warnings: ThrottledWarnings) -> None:
        self.node, self.parameters = node, parameters
        self._publishers: dict[str, Publisher] = {}
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
        """Start a new path, without a held pose."""
        self._held_pose = HeldPose()
        self._path: list[PoseStamped] = []
        self._path_step, self._path_count = 1, 0

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
        in_map, in_camera = make_header(stamp, settings.map_frame), make_header(stamp, localized.camera_frame)
        map_from_camera = self._held_pose.compute_map_from_camera(localized)
        if localized.child:
            map_from_child = map_from_camera @ np.linalg.inv(localized.child_from_camera)
            self.publish("/tf", TFMessage(transforms=[make_transform(in_map, localized.child, map_from_child)]))
        pose = PoseStamped(header=in_map, pose=make_pose(map_from_camera))
        self.publish("~/pose", pose)
        ids = localized.result.instance_ids.cpu().numpy()
        if self._has_subscriber("~/segmentation"):
            self.publish("~/segmentation", make_segmentation_message(in_camera, ids))
        if self._has_subscriber("~/overlay"):
            self.publish("~/overlay", make_overlay_message(in_camera, localized.frame.host_image, ids))
        if not localized.is_held:
            self._extend_path(pose)
        if self._has_subscriber("~/cloud") and not localized.is_held:
            scene = make_frame_cloud(localized.frame, localized.result, settings.cloud_points)
            self.publish("~/cloud", make_map_cloud(in_map, scene, localized.map_from_world, settings.map_colors))

    def publish_map(
        self, scene: InstanceMap, merged: dict[int, int], map_from_world: np.ndarray, stamp_ns: int, stamps: FrameStamps,
        config: Config,
    ) -> int:  # fmt: skip
        """Publish the whole map after the image of that stamp; return the number of published instances."""
        settings = self.parameters.settings
        in_map = make_header(make_time(stamp_ns), settings.map_frame)
        rows = choose_rows(scene.points, config.map.voxel, settings.map_voxel, settings.map_max_bytes)
        self.publish("~/map", make_map_cloud(in_map, scene, map_from_world, settings.map_colors, rows))
        shown = [stamps.stamp_instance(i) for i in scene.published(config.map.min_observations, config.map.min_points)]
        if "~/instances" in self._publishers:
            queries = {id: q.numpy() for id, q in scene.descriptors.items()} if settings.descriptors else {}
            self.publish("~/instances", make_instance_array(in_map, shown, map_from_world, merged, queries))
        if "~/detections" in self._publishers:
            self.publish("~/detections", make_detections(in_map, shown, map_from_world))
        self.publish("~/markers", self._markers.update(in_map, shown, map_from_world))
        self.publish("~/path", Path(header=in_map, poses=self._path))
        return len(shown)

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The full names of the topics that have a subscriber."""
        return tuple(p.topic_name for p in list(self._publishers.values()) if p.get_subscription_count())

    def _has_subscriber(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    def _extend_path(self, pose: PoseStamped) -> None:
        """Add a pose to the path; a path that is too long keeps every second pose."""
        if self._path_count % self._path_step == 0:
            self._path.append(pose)
        self._path_count += 1
        if len(self._path) > self.parameters.settings.path_length:
            self._path, self._path_step = self._path[::2], 2 * self._path_step


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
