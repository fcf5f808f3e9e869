"""The subscriptions: messages in, one camera image with all that belongs to it out. All run in one callback group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from moonseg3r_core import TIME_JUMP_S, FrameAssembler, FrameMessages, FrameRejected, is_rectified, required_inputs
from moonseg3r_ros.conversions.times import SECOND, read_time
from moonseg3r_ros.diagnostics.diagnose import InputStatus, explain_qos
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.frames.robot_tree import CameraTransforms, RobotTree
from moonseg3r_ros.frames.transform_publisher import TransformPublisher
from moonseg3r_ros.interface import INPUTS, STEADY, Topic
from moonseg3r_ros.parameters import ParameterStore
from moonseg3r_ros.topics import name_sibling

POLL_S = 0.5  # between two looks at what waits, when no message comes
CLOCK_BACK_S = 2.0  # after the clock went back, in which images from before may come
REPEAT_S = 0.05  # between two messages of map -> odom
PATH_NEEDS_POSES = "a corrected path moves what was placed by given poses, and here they are estimated"
MAX_CLOCK_OFFSET_S = 10.0  # of the clock from the newest stamp, else stamps are those of another clock


@dataclass(frozen=True)
class QueuedFrame:
    """One camera image on its way to the worker.

    stamp_ns: the image's stamp; transforms: what TF says of its camera; complete: when all its messages were there
    (perf_counter); path: the newest corrected path (nav_msgs/Path), if any.
    """

    messages: FrameMessages
    stamp_ns: int
    transforms: CameraTransforms
    complete: float
    path: Any = None


def list_required_topics(parameters: ParameterStore) -> dict[str, str]:
    """List what every image must come with: "camera_info", "depth" or "pose" -> its topic in the table."""
    settings, required = parameters.settings, required_inputs(parameters.config)
    topics = {"camera_info": "camera_info"} if "intrinsics" in required else {}
    if "depth" in required:
        topics["depth"] = "depth" if settings.depth_transport == "raw" else "depth/compressedDepth"
    if "poses" in required:
        topics["pose"] = "/tf" if settings.pose_source == "tf" else "odom"
    return topics


class Inputs:
    """Subscribed as long as it lives.

    `deliver(messages)` gets each image once all that belongs to it has come, `leave_out(reason)` is called for an image
    whose stamp cannot be, `report_jump(seconds)` when stamps went back. `transforms` publishes the node's own edges of TF, those that no other node publishes.
    """

    def __init__(
        self, node: Node, parameters: ParameterStore, warnings: ThrottledWarnings, transforms: TransformPublisher,
        deliver: Callable[[FrameMessages], None], leave_out: Callable[[str], None],
        report_jump: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.node, self.parameters, self.warnings = node, parameters, warnings
        self._deliver, self._leave_out = deliver, leave_out
        self._counts: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._incompatible: dict[str, str] = {}
        self._format = ""
        self._clock, self._clock_back = 0.0, -math.inf  # the clock's last time, and when it went back (monotonic)
        self._subscriptions: dict[str, Subscription] = {}
        self._group = MutuallyExclusiveCallbackGroup()
        self._required = list_required_topics(parameters)
        self._path: Any = None  # the newest corrected one
        self._report_jump = report_jump
        callbacks = self._make_callbacks()
        self._image = image = next(iter(callbacks))
        self.assembler = FrameAssembler(
            with_depth="depth" in self._required,
            with_info="camera_info" in self._required,
            with_pose="pose" in self._required,
            world=parameters.settings.world_frame or parameters.settings.odom_frame or None,
            rectified=is_rectified(node.resolve_topic_name(image)),
            may_release=self._is_releasable,
            warn=warnings.warn,
            leave_out=self._handle_odd_stamp,
            report_jump=self._handle_jump,
            depth_topic=node.resolve_topic_name(self._required.get("depth", "depth")),
        )
        settings = parameters.settings
        self._transforms = transforms
        self._tree = RobotTree(
            settings.map_frame,
            settings.odom_frame,
            self.assembler.lookup_transform,
            transforms.is_own,
            transforms.has_published,
        )
        transforms.is_free = lambda child: self._tree.is_free(child, self._read_clock())
        calls = ((POLL_S, self._flush), (REPEAT_S, self._repeat_corrections))
        self._timers = [node.create_timer(s, call, callback_group=self._group, clock=STEADY) for s, call in calls]
        try:
            for name, callback in callbacks.items():
                self._subscribe(INPUTS[name], callback)
        except Exception:  # QoS overrides that are not possible
            self.close()
            raise

    def close(self) -> None:
        """End all subscriptions."""
        for timer in self._timers:
            self.node.destroy_timer(timer)
        for subscription in self._subscriptions.values():
            self.node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def make_frame(self, messages: FrameMessages) -> QueuedFrame:
        """Make what the worker takes of a delivered image."""
        stamp_ns = _read_stamp(messages.image) or round(messages.stamp * SECOND)
        world = self.assembler.world if "pose" in self._required else None
        transforms = self._tree.locate(messages, world or "", self._read_clock())
        return QueuedFrame(messages, stamp_ns, transforms, perf_counter(), self._path)

    def compute_image_age(self) -> float:
        """Compute how much older than the node's clock the newest image is, seconds; 0 before the first."""
        newest = self.assembler.newest_stamp
        return 0.0 if newest is None else self._read_clock() - newest

    def get_status(self) -> dict[str, InputStatus]:
        """Return the status of every subscribed topic by its name in the table, the image's first."""
        return {name: self._get_status(INPUTS[name], s) for name, s in list(self._subscriptions.items())}

    def _get_status(self, topic: Topic, subscription: Subscription) -> InputStatus:
        name = subscription.topic_name
        connected = self.node.count_publishers(name)
        if hasattr(subscription, "get_publisher_count"):  # since Jazzy; before, those known are taken as connected
            connected = subscription.get_publisher_count()
        own = (self.node.get_namespace(), self.node.get_name())  # this node publishes on /tf too
        infos = self.node.get_publishers_info_by_topic(name)
        infos = [info for info in infos if (info.node_namespace, info.node_name) != own]
        last = self._last.get(topic.name)
        return InputStatus(
            topic=topic.name, name=name, type=topic.type.replace("/", "/msg/"),
            publishers=tuple(info.topic_type for info in infos),
            latched=any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in infos),
            connected=connected, messages=self._counts[topic.name],
            silence=None if last is None else monotonic() - last, incompatible=self._incompatible.get(topic.name, ""),
        )  # fmt: skip

    def _make_callbacks(self) -> dict[str, Callable[[Any], None]]:
        image = "image" if self.parameters.settings.image_transport == "raw" else "image/compressed"
        callbacks: dict[str, Callable[[Any], None]] = {image: self._add_image}
        callbacks["camera_info"] = lambda message: self.assembler.add_info(message)
        if "depth" in self._required:
            topic = self._required["depth"]
            callbacks[topic] = lambda message: self.assembler.add_depth(message, self._read_clock())
            callbacks["depth/camera_info"] = lambda message: self.assembler.add_depth_info(message)
        callbacks["/tf_static"] = lambda message: self._add_transforms(message, static=True)
        callbacks["/tf"] = lambda message: self._add_transforms(message, static=False)
        if self._required.get("pose") == "odom":
            odom = self.node.resolve_topic_name("odom")
            callbacks["odom"] = lambda message: self.assembler.add_pose(odom, message, self._read_clock())
        if self.parameters.settings.correction_source == "path":
            callbacks |= self._make_path_callback()
        return callbacks

    def _make_path_callback(self) -> dict[str, Callable[[Any], None]]:
        if "pose" in self._required:
            return {"corrected_path": self._take_path}
        self.warnings.warn("corrected path", f"{PATH_NEEDS_POSES}; correction_source=path has no effect")
        return {}

    def _take_path(self, path: Any) -> None:
        self._path = path

    def _handle_jump(self, seconds: float) -> None:
        self._path = None  # it is of the time before
        self._report_jump(seconds)

    def _subscribe(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        def receive(message: Any) -> None:
            self._counts[topic.name] += 1
            self._last[topic.name] = monotonic()
            callback(message)
            self._flush()

        def note_incompatible(event: Any) -> None:
            policy = event.last_policy_kind.name.lower().removeprefix("rmw_qos_policy_")
            self._incompatible[topic.name] = policy
            self.warnings.warn(
                f"qos of {topic.name}", explain_qos(self.node.resolve_topic_name(self._name(topic.name)), policy)
            )

        self._subscriptions[topic.name] = self.node.create_subscription(
            topic.message, self._name(topic.name), receive, callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=note_incompatible), **topic.make_qos(),
        )  # fmt: skip

    def _name(self, topic: str) -> str:
        """Return the topic to subscribe to: a camera_info that is not remapped is the one beside its remapped image."""
        image = {"camera_info": self._image, "depth/camera_info": self._required.get("depth", "depth")}.get(topic)
        if image is None or self._is_remapped(topic) or not self._is_remapped(image):
            return topic
        return name_sibling(self.node.resolve_topic_name(image))

    def _is_remapped(self, topic: str) -> bool:
        return self.node.resolve_topic_name(topic) != self.node.resolve_topic_name(topic, only_expand=True)

    def _flush(self) -> None:
        """Deliver the images that are complete, and those that have waited long enough."""
        for messages in self.assembler.pop_ready(self._read_clock()):
            self._deliver(messages)

    def _is_releasable(self, image: Any, stamp: float, early: bool) -> bool:
        """True when an image need not wait for optional inputs.

        These are the camera_info, in the first second alone, and the robot's TF where poses are estimated.
        """
        has_info = self.assembler.has_info or not early
        return has_info and ("pose" in self._required or self._tree.is_ready(image, stamp, early, self._read_clock()))

    def _repeat_corrections(self) -> None:
        """Publish map -> odom for a time that odometry has not reached."""
        now = self._read_clock()
        newest = max(self._tree.get_newest_stamp(now), self.assembler.newest_stamp or -math.inf)
        time = max(now, newest) if abs(now - newest) <= MAX_CLOCK_OFFSET_S else newest
        if self.parameters.settings.publish_tf and math.isfinite(time):
            self._transforms.repeat(round((time + self.parameters.settings.transform_tolerance) * SECOND))

    def _read_clock(self) -> float:
        return self.node.get_clock().now().nanoseconds * 1e-9

    def _add_image(self, message: Any) -> None:
        stamp, now = _read_stamp(message) / SECOND, self._read_clock()
        self._note_clock(now)
        if self._is_future(stamp, now):
            return
        self._report_format(message)
        self.assembler.add_image(0, message, now)  # the mapper numbers the frames that it processes

    def _note_clock(self, now: float) -> None:
        """Note when the node's clock goes back: a simulation starts over, a bag loops."""
        if now < self._clock - TIME_JUMP_S:
            self._clock_back = monotonic()
        self._clock = now

    def _is_future(self, stamp: float, now: float) -> bool:
        ahead, limit = stamp - now, self.parameters.settings.max_future
        if not limit or ahead <= limit or now == 0:
            return False
        if monotonic() - self._clock_back < CLOCK_BACK_S:
            return True  # the image is from before the clock's jump, which needs no warning
        self._leave_out(f"its stamp lies {ahead:.3f} s after now")
        self.warnings.warn(
            "future stamp",
            f"image refused: its stamp {stamp:.3f} s must not lie after now, {now:.3f} s, by more than {limit:g} s, got"
            f" {ahead:.3f} s; let the hosts' clocks agree, set use_sim_time for a bag, or raise max_future",
        )
        return True

    def _handle_odd_stamp(self, why: FrameRejected) -> None:
        self._leave_out(str(why))
        self.warnings.warn("odd stamp", f"image left out: {why}")

    def _report_format(self, message: Any) -> None:
        size = f"{message.width}x{message.height} {message.encoding}" if hasattr(message, "width") else message.format
        if self._format and size != self._format:
            self.warnings.warn(f"format {size}", f"images changed from {self._format} to {size}; going on with those")
        self._format = size

    def _add_transforms(self, message: Any, static: bool) -> None:
        message.transforms = self._tree.filter_transforms(message.transforms, self._read_clock(), static)
        self.assembler.add_transforms(message, self._read_clock(), static)


def _read_stamp(image: Any) -> int:
    """Read the stamp of a message, ns; 0 where it has none."""
    return max(read_time(image.header.stamp), 0)
