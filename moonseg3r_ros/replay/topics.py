"""The publishers of a replay: one for each topic of the bag, with the recorded QoS."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from moonseg3r_core import InputError, Topic
from moonseg3r_ros.interface import POLICIES

CLOCK = "/clock"
TF = "tf2_msgs/msg/TFMessage"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
MIN_DEPTH = 10  # messages; a recorded depth is often 0, because discovery does not carry it
STABLE_S = 0.5  # DDS finds a node's subscriptions one after the other
POLL_S = 0.02
ACKNOWLEDGE_TIMEOUT_S = 4.0  # Fast DDS asks every 3 s for what is missing
BEST_EFFORT_S = 0.5  # a message in shared memory goes with its publisher, and best effort has no acknowledgement


class BagPublishers:
    """A publisher for each topic whose type is installed; a warning names the other topics.

    Raises InputError when no topic is left.
    """

    def __init__(self, node: Node, topics: Sequence[Topic]) -> None:
        self.node = node
        self.publishers: dict[str, Publisher] = {}
        unknown = [f"{topic.name} ({topic.type})" for topic in topics if not self._open(topic)]
        known = [topic for topic in topics if topic.name in self.publishers]
        self.static = [topic.name for topic in known if is_static(topic)]
        self.images = [topic.name for topic in known if topic.type in IMAGES]
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
        """Publish one message on each topic."""
        for topic, raw in messages.items():
            self.publishers[topic].publish(raw)

    def wait(self, seconds: float, subscriber: str | None) -> None:
        """Wait until an image topic (without any: a topic) has a subscriber, and no further one for half a second.

        `subscriber`: only the subscription of this node counts. After `seconds` a warning says that there is none.
        """
        end = time.monotonic() + seconds
        watched = self.images or list(self.publishers)
        while not any(self._has(name, subscriber) for name in watched):
            if time.monotonic() >= end:
                return self._warn_without_subscriber(watched, seconds, subscriber)
            time.sleep(POLL_S)
        wait_until_stable(lambda: sum(publisher.get_subscription_count() for publisher in self.publishers.values()))

    def flush(self) -> None:
        """Wait until subscribers have what was sent: half a second, and up to 4 s for the reliable ones."""
        end = time.monotonic() + ACKNOWLEDGE_TIMEOUT_S
        time.sleep(BEST_EFFORT_S)
        for publisher in self.publishers.values():
            while not publisher.wait_for_all_acked(Duration(seconds=POLL_S)) and time.monotonic() < end:
                pass  # in short steps, because a signal is handled between them

    def _open(self, topic: Topic) -> bool:
        """Create a publisher, the first of a topic with two types; return False when its type is not installed."""
        try:
            kind = import_message(topic.type)
            options = QoSOverridingOptions(POLICIES)
            publisher = self.node.create_publisher(kind, topic.name, choose_qos(topic), qos_overriding_options=options)
        except (ImportError, AttributeError, ValueError):  # the last: a type without a package
            return False
        self.publishers[topic.name] = publisher
        return True

    def _has(self, name: str, subscriber: str | None) -> bool:
        publisher = self.publishers[name]
        if subscriber is None or not publisher.get_subscription_count():
            return publisher.get_subscription_count() > 0
        infos = self.node.get_subscriptions_info_by_topic(publisher.topic_name)
        return any(f"{info.node_namespace.rstrip('/')}/{info.node_name}" == subscriber for info in infos)

    def _warn_without_subscriber(self, watched: list[str], seconds: float, subscriber: str | None) -> None:
        if seconds:
            names = " or ".join(watched)
            self.node.get_logger().warning(
                f"{subscriber or 'no node'} has subscribed to {names} within {seconds:g} s; starting all the same;"
                " --wait waits for a node that is still starting; else compare names and QoS: ros2 topic info -v TOPIC"
            )


def wait_until_stable(count: Callable[[], int]) -> None:
    """Wait until a count has stayed the same for half a second."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < STABLE_S:
        time.sleep(POLL_S)
        if (now := count()) != last:
            last, since = now, time.monotonic()


def is_static(topic: Topic) -> bool:
    """True for a topic of static transforms."""
    return topic.type == TF and topic.name.endswith("tf_static")


def import_message(type: str) -> Any:
    """Import the class of `package/msg/Name`. Raises ImportError or AttributeError where it is not installed."""
    module, _, name = type.rpartition("/")
    return getattr(importlib.import_module(module.replace("/", ".")), name)


def choose_qos(topic: Topic) -> QoSProfile:
    """Choose the QoS of a topic: best effort, or volatile, only where all its recorded publishers were."""
    if is_static(topic):
        return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    profile = QoSProfile(depth=max([MIN_DEPTH, *(offer.depth for offer in topic.qos)]))
    if topic.qos and all(offer.reliability.name == "BEST_EFFORT" for offer in topic.qos):
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(offer.durability.name == "TRANSIENT_LOCAL" for offer in topic.qos):
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile
