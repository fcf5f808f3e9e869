"""The subscriptions: messages in, complete `FrameMessages` of a frame out. Everything here runs in one callback group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from moonseg3r_core import TIME_JUMP_S, FrameAssembler, FrameMessages, is_rectified
from moonseg3r_ros.diagnostics.throttled_warnings import Voice
from moonseg3r_ros.interface import INPUTS, STEADY, Topic
from moonseg3r_ros.map_frame import Anchor
from moonseg3r_ros.settings import NodeSettings

PATIENCE = 0.5  # seconds between looks at what waits, when nothing comes


@dataclass(frozen=True)
class Needs:
    """What every image must come with. Without `info` a camera_info is used all the same, where one is published."""

    depth: bool
    info: bool
    pose: bool


class Inputs:
    """Subscribed as long as it lives. `deliver(parts)` gets each image once all that belongs to it has come;
    `jumped(seconds)` is told when stamps went back.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        needs: Needs,
        voice: Voice,
        deliver: Callable[[FrameMessages], None],
        jumped: Callable[[float], None],
    ) -> None:
        self.node, self.settings, self.needs, self.voice = node, settings, needs, voice
        self._deliver, self._jumped = deliver, jumped
        self._messages: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._incompatible: dict[str, str] = {}
        self._format = ""
        self._subscriptions: dict[str, Subscription] = {}
        self._group = MutuallyExclusiveCallbackGroup()
        takers = self._takers()
        image = next(iter(takers))
        self.assembler = FrameAssembler(
            with_depth=needs.depth,
            with_info=needs.info,
            with_pose=needs.pose,
            world=settings.world_frame or settings.odom_frame or None,
            rectified=is_rectified(node.resolve_topic_name(image)),
            may_release=self._may_go,
            warn=voice.say,
        )
        self.anchor = Anchor(settings, needs.pose, self.assembler.lookup_transform, voice)
        self._timer = node.create_timer(PATIENCE, self._flush, callback_group=self._group, clock=STEADY)
        try:
            for name, take in takers.items():
                self._subscribe(INPUTS[name], take)
        except Exception:  # QoS overrides that cannot be
            self.close()
            raise

    def close(self) -> None:
        """End all subscriptions."""
        self.node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self.node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def state_of(self, name: str) -> tuple[str, int, int, float | None, str]:
        """A subscribed topic's resolved name, connected publishers, messages, seconds since the last one, and the QoS
        policy on which a publisher disagrees, if any.
        """
        subscription = self._subscriptions[name]
        connected = self.node.count_publishers(subscription.topic_name)
        if hasattr(subscription, "get_publisher_count"):  # since Jazzy; before, those known are taken as connected
            connected = subscription.get_publisher_count()
        last = self._last.get(name)
        silence = None if last is None else monotonic() - last
        return (
            subscription.topic_name,
            connected,
            self._messages.get(name, 0),
            silence,
            self._incompatible.get(name, ""),
        )

    @property
    def names(self) -> list[str]:
        """The table's topics that are subscribed, the image's first."""
        return list(self._subscriptions)

    def _takers(self) -> dict[str, Callable[[Any], None]]:
        settings, needs = self.settings, self.needs
        image = "image" if settings.image_transport == "raw" else "image/compressed"
        depth = "depth" if settings.depth_transport == "raw" else "depth/compressedDepth"
        takers: dict[str, Callable[[Any], None]] = {image: self._image, "camera_info": self._info}
        takers |= {depth: self._depth} if needs.depth else {}
        takers |= {"/tf_static": lambda message: self._transforms(message, static=True)}
        takers |= {"/tf": lambda message: self._transforms(message, static=False)}
        takers |= {"odom": self._odometry} if needs.pose and settings.pose_source == "odometry" else {}
        return takers

    def _subscribe(self, topic: Topic, take: Callable[[Any], None]) -> None:
        def taken(message: Any) -> None:
            self._messages[topic.name] = self._messages.get(topic.name, 0) + 1
            self._last[topic.name] = monotonic()
            take(message)
            self._flush()

        def incompatible(event: Any) -> None:
            self._incompatible[topic.name] = event.last_policy_kind.name.lower().removeprefix("rmw_qos_policy_")

        self._subscriptions[topic.name] = self.node.create_subscription(
            topic.message, topic.name, taken, callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible), **topic.options(),
        )  # fmt: skip

    def _flush(self) -> None:
        """Deliver the images that are whole, and those that have waited long enough."""
        for parts in self.assembler.pop_ready(self._now()):
            self._deliver(parts)

    def _may_go(self, image: Any, stamp: float, early: bool) -> bool:
        """Whether an image may go on without what is only used where it is there: the camera_info, which is waited for in
        the first second alone, and, beside estimated poses, the robot's TF.
        """
        has_info = self.assembler.has_info or not early
        return has_info and (self.needs.pose or self.anchor.is_ready(image, stamp, early))

    def _now(self) -> float:
        return self.node.get_clock().now().nanoseconds * 1e-9

    def _image(self, message: Any) -> None:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        now = self._now()
        if self._is_future(stamp * 1e-9, now):
            return
        newest = self.assembler.newest_stamp
        if newest is not None and stamp and stamp * 1e-9 < newest - TIME_JUMP_S:
            self.assembler.rewind()
            self._jumped(newest - stamp * 1e-9)
        self._tell_format(message)
        self.assembler.add_image(stamp or round(now * 1e9), message, now)

    def _is_future(self, stamp: float, now: float) -> bool:
        ahead, most = stamp - now, self.settings.max_future
        if not most or ahead <= most or now == 0:
            return False
        newest = self.assembler.newest_stamp
        if newest is not None and newest - now > max(TIME_JUMP_S, most):
            return True  # the clock has jumped back: an image of the lap before, nothing to complain of
        self.voice.say(
            "future stamp",
            f"image refused: its stamp {stamp:.3f} s must not lie after now, {now:.3f} s, by more than {most:g} s, got"
            f" {ahead:.3f} s; let the hosts' clocks agree, set use_sim_time for a bag, or raise max_future",
        )
        return True

    def _tell_format(self, message: Any) -> None:
        """Say when the camera changes what it sends."""
        size = f"{message.width}x{message.height} {message.encoding}" if hasattr(message, "width") else message.format
        if self._format and size != self._format:
            self.voice.say(f"format {size}", f"images changed from {self._format} to {size}; going on with those")
        self._format = size

    def _info(self, message: Any) -> None:
        self.assembler.add_info(message)

    def _depth(self, message: Any) -> None:
        self.assembler.add_depth(message, self._now())

    def _odometry(self, message: Any) -> None:
        self.assembler.add_pose(self.node.resolve_topic_name("odom"), message, self._now())

    def _transforms(self, message: Any, static: bool) -> None:
        message.transforms = self.anchor.hear(message.transforms)
        self.assembler.add_transforms(message, self._now(), static)
