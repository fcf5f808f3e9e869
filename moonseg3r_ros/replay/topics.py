"""What replay publishes on: a publisher per topic of the bag, with the QoS that it was recorded with."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions, QoSPolicyKind

from moonseg3r_core import InputError, Topic

CLOCK = "/clock"
TF = "tf2_msgs/msg/TFMessage"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
KEPT = 10  # messages; a recorded depth is often 0, for discovery does not carry it
POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
SETTLED = 0.5  # seconds: a node's subscriptions are found one after the other
POLL = 0.02
FLUSH = 4.0  # seconds: Fast DDS asks every 3 s what is missing
LINGER = 0.5  # seconds: a message in shared memory is gone with its publisher, and best effort tells nobody it was read


class Outlets:
    """A publisher per topic whose type is installed; the other topics are named once.

    Raises InputError when none is left.
    """

    def __init__(self, node: Node, topics: Sequence[Topic]) -> None:
        self.node = node
        self.publishers: dict[str, Publisher] = {}
        unknown = [f"{topic.name} ({topic.type})" for topic in topics if not self._open(topic)]
        opened = [topic for topic in topics if topic.name in self.publishers]
        self.static = [topic.name for topic in opened if is_static(topic)]
        self.images = [topic.name for topic in opened if topic.type in IMAGES]
        if not self.publishers:
            raise InputError(
                f"no topic's message type is installed here: {', '.join(unknown)}; install their packages."
            )
        if unknown:
            node.get_logger().warning(f"left out, their message types are not installed here: {', '.join(unknown)}")

    @property
    def moving(self) -> list[str]:
        """The topics whose messages go out at their time."""
        return [name for name in self.publishers if name not in self.static]

    def publish(self, messages: Mapping[str, bytes]) -> None:
        """One message on each topic."""
        for topic, raw in messages.items():
            self.publishers[topic].publish(raw)

    def wait(self, seconds: float, subscriber: str | None) -> None:
        """Until an image topic (without any: a topic) has a subscriber and half a second brought no further one.

        `subscriber`: only this node's subscription counts. After `seconds` it is said that there is none.
        """
        end = time.monotonic() + seconds
        watched = self.images or list(self.publishers)
        while not any(self._has(name, subscriber) for name in watched):
            if time.monotonic() >= end:
                return self._say_alone(watched, seconds, subscriber)
            time.sleep(POLL)
        settle(lambda: sum(publisher.get_subscription_count() for publisher in self.publishers.values()))

    def flush(self) -> None:
        """Wait until subscribers have what was sent: reliable ones say so, within 4 s; the others get half a second."""
        end = time.monotonic() + FLUSH
        time.sleep(LINGER)
        for publisher in self.publishers.values():
            while not publisher.wait_for_all_acked(Duration(seconds=POLL)) and time.monotonic() < end:
                pass  # in short pieces, between which a signal is heard

    def _open(self, topic: Topic) -> bool:
        """False when the topic's type is not installed. A topic recorded with two types has the first of them."""
        try:
            kind = message_class(topic.type)
            options = QoSOverridingOptions(POLICIES)
            publisher = self.node.create_publisher(kind, topic.name, qos_of(topic), qos_overriding_options=options)
        except (ImportError, AttributeError):
            return False
        self.publishers[topic.name] = publisher
        return True

    def _has(self, name: str, subscriber: str | None) -> bool:
        publisher = self.publishers[name]
        if subscriber is None or not publisher.get_subscription_count():
            return publisher.get_subscription_count() > 0
        infos = self.node.get_subscriptions_info_by_topic(publisher.topic_name)
        return any(f"{info.node_namespace.rstrip('/')}/{info.node_name}" == subscriber for info in infos)

    def _say_alone(self, watched: list[str], seconds: float, subscriber: str | None) -> None:
        if seconds:
            names = " or ".join(watched)
            self.node.get_logger().warning(
                f"{subscriber or 'no node'} has subscribed to {names} within {seconds:g} s; starting all the same;"
                " --wait waits for a node that is still starting; else compare names and QoS: ros2 topic info -v TOPIC"
            )


def settle(count: Callable[[], int]) -> None:
    """Until a count has stayed the same for half a second."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(POLL)
        if (now := count()) != last:
            last, since = now, time.monotonic()


def is_static(topic: Topic) -> bool:
    """True for a topic of transforms that hold for all time."""
    return topic.type == TF and topic.name.endswith("tf_static")


def message_class(type: str) -> Any:
    """The class of `package/msg/Name`. Raises ImportError or AttributeError where it is not installed."""
    module, _, name = type.rpartition("/")
    return getattr(importlib.import_module(module.replace("/", ".")), name)


def qos_of(topic: Topic) -> QoSProfile:
    """The QoS that a topic's publishers offered together: best effort and volatile only where all of them were."""
    if is_static(topic):
        return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    profile = QoSProfile(depth=max([KEPT, *(offer.depth for offer in topic.qos)]))
    if topic.qos and all(offer.reliability.name == "BEST_EFFORT" for offer in topic.qos):
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(offer.durability.name == "TRANSIENT_LOCAL" for offer in topic.qos):
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile
