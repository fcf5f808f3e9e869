"""Diagnostics of the running node: gathers what there is to know, publishes it, and says in the log what went wrong."""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from moonseg3r_ros.diagnostics.diagnose import ERROR, Facts, Feed, status_message, verdict
from moonseg3r_ros.interface import INPUTS, OUTPUTS, STEADY

if TYPE_CHECKING:
    from moonseg3r_ros.node import MoonSeg3RNode

RARE = 0.5  # share of the images that must lack something until that is why nothing comes out
IMAGE_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}


class Reporter:
    """Publishes on /diagnostics every `period` seconds, whatever state the node is in."""

    def __init__(self, node: MoonSeg3RNode, period: float) -> None:
        self.node = node
        topic = OUTPUTS["/diagnostics"]
        self._publisher = node.create_publisher(DiagnosticArray, topic.name, **topic.options())
        self._state, self._entered = "", monotonic()
        self._seen = self._told = ""
        node.create_timer(period, self.report, callback_group=MutuallyExclusiveCallbackGroup(), clock=STEADY)

    def report(self) -> None:
        """Publish once; an error that is new and not in the log yet, and its end, go into the log."""
        facts = self.facts()
        self._publisher.publish(status_message(self.node.get_clock().now().to_msg(), facts))
        level, text = verdict(facts)
        said = bool(facts.fault) or text in facts.causes.values()  # where it arose
        is_new = level == ERROR and not said
        kind = re.sub(r"[\d.]+", "#", text) if is_new else ""
        settled, self._seen = kind == self._seen, kind  # twice in a row: what passes by itself is no news
        if kind == self._told or not settled:
            return
        if kind:
            self.node.get_logger().warning(text)
        else:
            self.node.get_logger().info(f"no longer so: {text}")
        self._told = kind

    def facts(self) -> Facts:
        """All that the verdict is drawn from."""
        node = self.node
        if node.state != self._state:
            self._state, self._entered = node.state, monotonic()
        feeds = self._feeds()
        image = next(iter(feeds.values()), _unsubscribed(node))
        needs = node.feeds_of_needs()
        flow = node.ledger.flow()
        clock_missing = node.get_parameter("use_sim_time").value and node.get_clock().now().nanoseconds == 0
        return Facts(
            node=node.get_fully_qualified_name(),
            state=node.state,
            image=image,
            needs={need: feeds[name] for need, name in needs.items() if name in feeds},
            others=tuple(feed for name, feed in feeds.items() if feed is not image and name not in needs.values()),
            flow=flow,
            load=node.ledger.load(),
            fault=node.fault,
            paused=node.paused,
            untrained=node.untrained,
            clock_missing=bool(clock_missing),
            causes=self._causes(RARE * flow.input_rate),
            image_topics=() if image.publishers else self._image_topics(),
            heard=node.outputs.heard if node.outputs else (),
            age=monotonic() - self._entered,
        )

    def _causes(self, rare: float) -> dict[str, str]:
        """What was complained of lately, without what befell few images: fewer than `rare` a second."""
        voice, each = self.node.voice, {"future stamp", *(f"no {need}" for need in self.node.feeds_of_needs())}
        return {topic: text for topic, text in voice.causes().items() if topic not in each or voice.rate(topic) >= rare}

    def _feeds(self) -> dict[str, Feed]:
        inputs = self.node.inputs
        if inputs is None:
            return {}
        return {name: self._feed(name, *inputs.state_of(name)) for name in inputs.names}

    def _feed(self, name: str, resolved: str, matched: int, messages: int, silence: float | None, qos: str) -> Feed:
        package, _, kind = INPUTS[name].type.partition("/")
        own = (self.node.get_namespace(), self.node.get_name())  # this node publishes on /tf too
        there = self.node.get_publishers_info_by_topic(resolved)
        types = tuple(info.topic_type for info in there if (info.node_namespace, info.node_name) != own)
        return Feed(name, resolved, f"{package}/msg/{kind}", types, matched, messages, silence, qos)

    def _image_topics(self) -> tuple[str, ...]:
        """Topics of images that somebody else publishes, those that sound like colour first."""
        own = self.node.get_fully_qualified_name()
        names = [name for name, types in self.node.get_topic_names_and_types() if IMAGE_TYPES & set(types)]
        there = [name for name in names if not name.startswith(f"{own}/") and self.node.count_publishers(name)]
        return tuple(sorted(there, key=lambda name: "depth" in name))


def _unsubscribed(node: MoonSeg3RNode) -> Feed:
    return Feed("image", node.resolve_topic_name("image"), "sensor_msgs/msg/Image")
