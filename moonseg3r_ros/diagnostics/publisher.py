"""Diagnostics of the running node: published on /diagnostics, and new errors in the log."""

from __future__ import annotations

from time import monotonic

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from moonseg3r_ros.diagnostics.diagnose import ERROR, InputStatus, NodeStatus, diagnose, make_status_message
from moonseg3r_ros.inputs import list_required_topics
from moonseg3r_ros.interface import OUTPUTS, STEADY
from moonseg3r_ros.state import NodeState

MIN_LACKING_SHARE = 0.5  # of the images; fewer that lack something are no cause of missing output
IMAGE_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}


class DiagnosticsPublisher:
    """Publishes on /diagnostics every `period` seconds, in every state of the node."""

    def __init__(self, node: Node, state: NodeState, period: float) -> None:
        self.node, self.state = node, state
        topic = OUTPUTS["/diagnostics"]
        self._publisher = node.create_publisher(DiagnosticArray, topic.name, **topic.make_qos())
        self._lifecycle, self._entered = "", monotonic()
        self._last_key = self._logged_key = ""
        node.create_timer(period, self.publish, callback_group=MutuallyExclusiveCallbackGroup(), clock=STEADY)

    def publish(self) -> None:
        """Publish once; log an error that is new and not in the log yet, and its end."""
        status = self.get_status()
        self._publisher.publish(make_status_message(self.node.get_clock().now().to_msg(), status))
        level, text, key = diagnose(status)
        is_logged = bool(status.fault) or text in status.warnings.values()  # where the error arose
        key = key if level == ERROR and not is_logged else ""
        is_lasting, self._last_key = key == self._last_key, key  # an error that lasts two periods
        if key == self._logged_key or not is_lasting:
            return
        if key:
            self.node.get_logger().warning(text)
        else:
            self.node.get_logger().info(f"no longer so: {text}")
        self._logged_key = key

    def get_status(self) -> NodeStatus:
        """Return all that a diagnosis is made from."""
        node, state = self.node, self.state
        if state.lifecycle != self._lifecycle:
            self._lifecycle, self._entered = state.lifecycle, monotonic()
        inputs = state.inputs.get_status() if state.inputs else {}
        unsubscribed = InputStatus("image", node.resolve_topic_name("image"), "sensor_msgs/msg/Image")
        image = next(iter(inputs.values()), unsubscribed)
        required = list_required_topics(state.parameters)
        counters = state.statistics.get_counters()
        is_clock_missing = node.get_parameter("use_sim_time").value and node.get_clock().now().nanoseconds == 0
        return NodeStatus(
            node=node.get_fully_qualified_name(), state=state.lifecycle, image=image,
            needs={need: inputs[name] for need, name in required.items() if name in inputs},
            others=tuple(i for name, i in inputs.items() if i is not image and name not in required.values()),
            counters=counters, usage=state.statistics.get_resource_usage(),
            fault=state.fault, paused=state.paused, untrained=state.is_untrained, clock_missing=bool(is_clock_missing),
            warnings=self._list_warnings(required, MIN_LACKING_SHARE * counters.input_rate),
            resolved=state.mapper.resolved if state.mapper else "",
            map_frame=state.mapper.map_frame if state.mapper else "",
            image_topics=() if image.publishers else self._list_image_topics(),
            subscribed=state.outputs.subscribed if state.outputs else (),
            image_age=state.inputs.compute_image_age() if state.inputs else 0.0,
            age=monotonic() - self._entered,
        )  # fmt: skip

    def _list_warnings(self, required: dict[str, str], min_rate: float) -> dict[str, str]:
        """List the recent warnings; those about single images only from `min_rate` a second on."""
        warnings, single = self.state.warnings, {"future stamp", *(f"no {need}" for need in required)}
        recent = warnings.list_recent().items()
        return {topic: text for topic, text in recent if topic not in single or warnings.get_rate(topic) >= min_rate}

    def _list_image_topics(self) -> tuple[str, ...]:
        """List the topics of images of other nodes, depth last."""
        own = self.node.get_fully_qualified_name()
        names = [name for name, types in self.node.get_topic_names_and_types() if IMAGE_TYPES & set(types)]
        others = [name for name in names if not name.startswith(f"{own}/") and self.node.count_publishers(name)]
        return tuple(sorted(others, key=lambda name: "depth" in name))
