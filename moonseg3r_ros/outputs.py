"""The publishers: what the core returns, as messages. Nobody listens, nothing is built; but TF, pose and the latched ones."""

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

from moonseg3r_core import Frame, FrameResult, InstanceMap, frame_cloud
from moonseg3r_ros.conversions.clouds import choose_rows, make_map_cloud
from moonseg3r_ros.conversions.images import make_overlay_message, make_segmentation_message
from moonseg3r_ros.conversions.instances import make_detections, make_instance_array
from moonseg3r_ros.conversions.markers import InstanceMarkers
from moonseg3r_ros.conversions.poses import make_header, make_pose, make_time, make_transform
from moonseg3r_ros.diagnostics.throttled_warnings import Voice
from moonseg3r_ros.interface import OUTPUTS
from moonseg3r_ros.map_frame import IDENTITY
from moonseg3r_ros.parameters import Values

SHARE = 0.25  # of the worker's time, at most, goes into publishing the map


@dataclass(frozen=True)
class Placed:
    """A frame that went through, with where it lies: everything that is published of it."""

    frame: Frame
    result: FrameResult
    map_from_world: np.ndarray
    camera_frame: str
    child: str  # the frame that map -> child places; empty: TF has the camera already
    child_from_camera: np.ndarray

    @property
    def map_from_camera(self) -> np.ndarray:
        return self.map_from_world @ self.result.geometry.world_from_camera.cpu().numpy()

    @property
    def is_held(self) -> bool:
        """True when the frame brings no points of its own and the last good pose stands in."""
        return bool(self.result.geometry.held)


class Standing:
    """The robot's frame that map -> it places stays where it was while frames are held: its own TF carries the camera on."""

    def __init__(self) -> None:
        self._child, self._map_from_child = "", IDENTITY

    def map_from_camera(self, placed: Placed) -> np.ndarray:
        """Where the camera is by the last good frame, (4, 4)."""
        if placed.child in ("", placed.camera_frame):
            return placed.map_from_camera
        if placed.is_held and placed.child == self._child:
            return self._map_from_child @ placed.child_from_camera
        self._child, self._map_from_child = (
            placed.child,
            placed.map_from_camera @ np.linalg.inv(placed.child_from_camera),
        )
        return placed.map_from_camera


class Outputs:
    """All publishers of the node. `frame` is called for every frame, `map` at `map_rate`."""

    def __init__(self, node: Node, values: Values, voice: Voice) -> None:
        self.node, self.values = node, values
        self._publishers: dict[str, Publisher] = {}
        try:
            self._create(voice)
        except Exception:  # QoS overrides that cannot be
            self.close()
            raise
        self._markers = InstanceMarkers()
        self.forget_path()

    def _create(self, voice: Voice) -> None:
        for name, topic in OUTPUTS.items():
            if topic.message is not None:
                self._publishers[name] = self.node.create_publisher(topic.message, name, **topic.options())
            elif topic.package == "moonseg3r_msgs":
                voice.say(
                    "messages",
                    f"{name} is off: the package {topic.package} is not built; `colcon build` in its workspace",
                )

    def forget_path(self) -> None:
        """The path starts anew, and what stood where it was is forgotten."""
        self._standing = Standing()
        self._path: list[PoseStamped] = []
        self._path_step, self._path_count = 1, 0

    def close(self) -> None:
        """Take all publishers down."""
        for publisher in self._publishers.values():
            self.node.destroy_publisher(publisher)
        self._publishers.clear()

    def publish(self, name: str, message: Any) -> None:
        """Publish on a topic of the table; nothing once closed."""
        if name in self._publishers:
            self._publishers[name].publish(message)

    def frame(self, placed: Placed) -> None:
        """Publish what belongs to one frame, the poses first."""
        stamp = make_time(placed.result.index)
        in_map, in_camera = (make_header(stamp, name) for name in (self.values.settings.map_frame, placed.camera_frame))
        map_from_camera = self._standing.map_from_camera(placed)
        if placed.child:
            map_from_child = map_from_camera @ np.linalg.inv(placed.child_from_camera)
            self.publish("/tf", TFMessage(transforms=[make_transform(in_map, placed.child, map_from_child)]))
        pose = PoseStamped(header=in_map, pose=make_pose(map_from_camera))
        self.publish("~/pose", pose)
        ids = placed.result.instance_ids.cpu().numpy()
        if self._heard("~/segmentation"):
            self.publish("~/segmentation", make_segmentation_message(in_camera, ids))
        if self._heard("~/overlay"):
            self.publish("~/overlay", make_overlay_message(in_camera, placed.frame.image.cpu().numpy(), ids))
        if not placed.is_held:
            self._follow(pose)
        if self._heard("~/cloud") and not placed.is_held:
            settings = self.values.settings
            scene = frame_cloud(placed.frame, placed.result, settings.cloud_points)
            self.publish("~/cloud", make_map_cloud(in_map, scene, placed.map_from_world, settings.map_colors))

    def map(self, scene: InstanceMap, merged: dict[int, int], map_from_world: np.ndarray, index: int) -> int:
        """Publish the whole map as it is after the frame of that index (its stamp in nanoseconds); the instances told."""
        settings, config = self.values.settings, self.values.config
        in_map = make_header(make_time(index), settings.map_frame)
        rows, _ = choose_rows(scene.points, config.map.voxel, settings.map_voxel, settings.map_max_bytes)
        self.publish("~/map", make_map_cloud(in_map, scene, map_from_world, settings.map_colors, rows))
        shown = scene.published(config.map.min_observations, config.map.min_points)
        if "~/instances" in self._publishers:
            queries = {id: q.numpy() for id, q in scene.descriptors.items()} if settings.descriptors else {}
            self.publish("~/instances", make_instance_array(in_map, shown, map_from_world, merged, queries))
        if "~/detections" in self._publishers:
            self.publish("~/detections", make_detections(in_map, shown, map_from_world))
        self.publish("~/markers", self._markers.update(in_map, shown, map_from_world))
        self.publish("~/path", Path(header=in_map, poses=self._path))
        return len(shown)

    @property
    def heard(self) -> tuple[str, ...]:
        """The topics, by their full names, that somebody listens to."""
        return tuple(p.topic_name for p in list(self._publishers.values()) if p.get_subscription_count())

    def _heard(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    def _follow(self, pose: PoseStamped) -> None:
        """Lengthen the path; when it is too long, every second pose of it stays."""
        if self._path_count % self._path_step == 0:
            self._path.append(pose)
        self._path_count += 1
        if len(self._path) > self.values.settings.path_length:
            self._path, self._path_step = self._path[::2], 2 * self._path_step


class Pace:
    """When the map is due: after a change, `rate` times a second and for SHARE of the time at most, and never left stale."""

    def __init__(self) -> None:
        self._last, self._took, self._changed = -1e9, 0.0, False

    def changed(self) -> None:
        """Something is new."""
        self._changed = True

    def wait(self, rate: float) -> float | None:
        """Seconds until the map is due, 0 now; None when nothing is new."""
        pause = max(1 / rate, self._took / SHARE - self._took)
        return max(0.0, self._last + pause - monotonic()) if self._changed else None

    def done(self, seconds: float) -> None:
        """It was published, which took so long."""
        self._last, self._took, self._changed = monotonic(), seconds, False
