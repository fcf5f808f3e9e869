"""The one cause of missing output that the node tells the user, from its own state and its topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

OUTPUT_TIMEOUT_S = 3.0  # without output, until a cause is sought; discovery alone may take as long
MAX_AGE_S = 5.0  # of images by the node's clock
MAX_HELD_SHARE = 0.5  # of the frames
MAX_DROPPED_SHARE = 0.2  # of the images

UNTRAINED = "UNTRAINED (reconstruction.random is set)"
_COUNTS = ("received", "processed", "dropped", "rejected", "held")
_FRAME_WARNINGS = ("implausible input", "tf", "map moved", "frame", "correction", "corrected path")
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnosis(NamedTuple):
    """The level, a line for the user, and a key that is equal for lines that differ in numbers alone."""

    level: bytes
    text: str
    key: str = ""


@dataclass(frozen=True)
class InputStatus:
    """One subscribed topic.

    topic: its name in the node's table; name: as resolved; type: the type taken (package/msg/Name); publishers: the type
    of each; connected: how many of these are; latched: one of them keeps its last message for late subscribers; messages:
    how many came; incompatible: the QoS policy on which a publisher and this node disagree, if any.
    """

    topic: str
    name: str
    type: str
    publishers: tuple[str, ...] = ()
    connected: int = 0
    latched: bool = False
    messages: int = 0
    silence: float | None = None  # seconds since the last message
    incompatible: str = ""

    @property
    def is_silent(self) -> bool:
        """True when no message came lately."""
        return self.silence is None or self.silence > OUTPUT_TIMEOUT_S


@dataclass(frozen=True)
class FrameCounters:
    """Counts of the images, rates in Hz, medians of times."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0
    reason: str = ""  # of the last rejection
    held: int = 0  # processed, but at the last good pose
    held_reason: str = ""  # the last one
    held_rate: float = 0.0
    input_rate: float = 0.0
    output_rate: float = 0.0
    drop_rate: float = 0.0
    latency_ms: float | None = None  # from the image to its pose on the wire, without the step
    step_ms: float | None = None
    map_ms: float | None = None  # to describe, build and publish the map
    map_jumps: int = 0  # of the map frame of other nodes
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    silence: float | None = None  # seconds since the last frame was published
    busy: float = 0.0  # seconds that the current frame has taken up to now


@dataclass(frozen=True)
class ResourceUsage:
    """Sizes of the map and of memory: of the instances `stored`, `instances` are published."""

    points: int = 0
    instances: int = 0
    stored: int = 0
    memory_mib: float = 0.0
    gpu_mib: float = 0.0


@dataclass(frozen=True)
class NodeStatus:
    """All that a diagnosis is made from.

    needs: what the reconstruction takes beside the image, "camera_info", "depth" or "pose", and where it comes from;
    others: what else is subscribed; untrained: the net is one of random numbers; warnings: the recent ones by topic, the
    newest last; resolved: the settings whose resolved value is not the requested one; map_frame: that of all results;
    image_topics: other topics of images; subscribed: published topics with a subscriber; image_age: seconds from the newest image's stamp to the node's clock;
    age: seconds in this state.
    """

    node: str
    state: str
    image: InputStatus
    needs: Mapping[str, InputStatus] = field(default_factory=dict)
    others: tuple[InputStatus, ...] = ()
    counters: FrameCounters = FrameCounters()
    usage: ResourceUsage = ResourceUsage()
    fault: str = ""
    paused: bool = False
    untrained: bool = False
    clock_missing: bool = False
    warnings: Mapping[str, str] = field(default_factory=dict)
    resolved: str = ""
    map_frame: str = ""
    image_topics: tuple[str, ...] = ()
    subscribed: tuple[str, ...] = ()
    image_age: float = 0.0
    age: float = OUTPUT_TIMEOUT_S


def diagnose(status: NodeStatus) -> Diagnosis:
    """Tell that all is well, or the likeliest cause of missing output and what to do."""
    level, text, key = next(found for check in _CHECKS if (found := check(status)))
    if status.untrained:
        level, text = max(level, WARN), f"{UNTRAINED}: {text}"
    text = " ".join(text.split())
    return Diagnosis(level, text, key or text)


def make_status_message(stamp: Time, status: NodeStatus) -> DiagnosticArray:
    """Make the message on /diagnostics: the diagnosis and all numbers."""
    level, text, _ = diagnose(status)
    counters, usage, topics = status.counters, status.usage, (status.image, *status.needs.values(), *status.others)
    values = {
        "state": "paused" if status.paused else status.state,
        **{f"frames {name}": str(getattr(counters, name)) for name in _COUNTS},
        "last held": counters.held_reason,
        "input rate": f"{counters.input_rate:.2f}", "output rate": f"{counters.output_rate:.2f}",
        "latency ms": _format_ms(counters.latency_ms), "step ms": _format_ms(counters.step_ms),
        "map ms": _format_ms(counters.map_ms), "image age s": f"{status.image_age:.1f}",
        **{f"{stage} ms": _format_ms(ms) for stage, ms in counters.stage_ms.items()},
        "settings resolved": status.resolved,
        "map frame": status.map_frame, "map jumps": str(counters.map_jumps),
        "map points": str(usage.points), "instances": str(usage.instances), "instances stored": str(usage.stored),
        "memory MiB": f"{usage.memory_mib:.0f}", "GPU MiB": f"{usage.gpu_mib:.0f}",
        **{topic.name: f"{topic.connected} connected, {topic.messages} messages" for topic in topics},
        "listened to": " ".join(status.subscribed),
        "last complaint": next(reversed(list(status.warnings.values())), ""),
    }  # fmt: skip
    message = DiagnosticStatus(level=level, name=f"{status.node}: output", message=text, hardware_id=status.image.name)
    message.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=Header(stamp=stamp), status=[message])


def _check_state(status: NodeStatus) -> Diagnosis | None:
    if status.state == "active":
        return None
    if status.fault:
        state = "not configured" if status.state == "unconfigured" else status.state
        return Diagnosis(ERROR, f"{state}: {status.fault}")
    if status.state == "unconfigured":
        return Diagnosis(WARN, f"not configured; ros2 lifecycle set {status.node} configure")
    return Diagnosis(WARN, f"{status.state}; ros2 lifecycle set {status.node} activate")


def _check_pause(status: NodeStatus) -> Diagnosis | None:
    text = f"paused; ros2 service call {status.node}/resume std_srvs/srv/Trigger"
    return Diagnosis(WARN, text) if status.paused else None


def _check_output(status: NodeStatus) -> Diagnosis | None:
    counters = status.counters
    if counters.silence is None or counters.silence > OUTPUT_TIMEOUT_S:
        return None
    step_ms = _format_ms(counters.step_ms)
    if status.clock_missing:
        return Diagnosis(WARN, f"images come out late: {_NO_CLOCK}")
    if counters.held_rate > MAX_HELD_SHARE * counters.output_rate:
        return Diagnosis(
            WARN,
            f"held: {counters.held_rate:.1f} of {counters.output_rate:.1f} images/s add nothing to the map, and the last good"
            f" pose stands: {counters.held_reason}",
        )
    for topic, warning in status.warnings.items():
        if topic.partition(":")[0] in _FRAME_WARNINGS:
            return Diagnosis(WARN, warning, topic)
    others = (found for topic in status.others if (found := _check_path(topic) or _check_other(topic)))
    if found := next(others, None):
        return Diagnosis(WARN, found.text, found.key)
    if status.image_age > MAX_AGE_S:
        return Diagnosis(
            WARN,
            f"images are {status.image_age:.0f} s older than this node's clock; set use_sim_time for a bag, or let the hosts'"
            " clocks agree",
            "images are old",
        )
    if counters.drop_rate > MAX_DROPPED_SHARE * counters.input_rate:
        return Diagnosis(
            WARN,
            f"slow: {counters.output_rate:.1f} of {counters.input_rate:.1f} images/s come out, a step takes"
            f" {step_ms} ms; always the newest is taken, {counters.dropped} were dropped",
        )
    return Diagnosis(OK, f"OK: {counters.output_rate:.1f} images/s, a step takes {step_ms} ms")


def _check_processing(status: NodeStatus) -> Diagnosis | None:
    busy = status.counters.busy
    if busy > OUTPUT_TIMEOUT_S:
        return Diagnosis(WARN, f"slow: one image has been in work for {busy:.0f} s")
    if busy and status.counters.silence is None and not status.counters.rejected:
        return Diagnosis(OK, f"the first image has been in work for {busy:.1f} s")
    return None


def _check_startup(status: NodeStatus) -> Diagnosis | None:
    text = f"active for {status.age:.1f} s; waiting for the first image"
    return Diagnosis(OK, text) if status.age < OUTPUT_TIMEOUT_S else None


def _check_image(status: NodeStatus) -> Diagnosis | None:
    topic = status.image
    if not topic.publishers:
        return Diagnosis(ERROR, f"no publisher on {topic.name}; {_suggest_images(status)}")
    if found := _check_topic("image", topic):
        return found
    if topic.is_silent:
        text = f"no image for {topic.silence:.1f} s on {topic.name}; has the camera stopped?"
        return Diagnosis(ERROR, text, "no image")
    return None


def _check_clock(status: NodeStatus) -> Diagnosis | None:
    return Diagnosis(ERROR, f"no output: {_NO_CLOCK}") if status.clock_missing else None


def _check_others(status: NodeStatus) -> Diagnosis | None:
    return next((found for topic in status.others if (found := _check_other(topic))), None)


def _check_other(topic: InputStatus) -> Diagnosis | None:
    """Tell why no message came on a topic that a reconstruction can do without, such as /tf_static."""
    if topic.messages or not topic.publishers:
        return None
    if topic.incompatible:
        return Diagnosis(ERROR, explain_qos(topic.name, topic.incompatible))
    return _check_latched(topic)


def _check_path(topic: InputStatus) -> Diagnosis | None:
    """Tell why no corrected path came."""
    if topic.topic != "corrected_path":
        return None
    if topic.publishers:
        return _check_topic("corrected path", topic)
    advice = "remap corrected_path to the path of SLAM; until it comes, jumps of map -> odom move the map"
    return Diagnosis(ERROR, f"no corrected path: no publisher on {topic.name}; {advice}")


def _check_latched(topic: InputStatus) -> Diagnosis | None:
    """Tell of a message that was sent once, before this node was there."""
    if not topic.latched or topic.topic not in ("camera_info", "depth", "odom", "corrected_path"):
        return None
    parameter = f"qos_overrides.{topic.name}.subscription.durability"
    return Diagnosis(
        ERROR,
        f"{topic.name} is sent for late subscribers too (transient local), but no message has come since this node"
        f" started; set the parameter {parameter} to transient_local",
    )


def _check_needs(status: NodeStatus) -> Diagnosis | None:
    for need, topic in status.needs.items():
        if not topic.publishers:
            return Diagnosis(ERROR, f"no {need}: no publisher on {topic.name}; {_SOURCES[need]}")
        if found := _check_topic(need, topic):
            return found
        if warning := status.warnings.get(f"no {need}"):
            return Diagnosis(ERROR, f"{warning}; {_SOURCES[need]}", f"no {need}")
    return None


def _check_rejections(status: NodeStatus) -> Diagnosis | None:
    if warning := status.warnings.get("future stamp"):
        return Diagnosis(ERROR, warning)
    if not status.counters.rejected:
        return None
    text = f"images are refused, {status.counters.rejected} up to now: {status.counters.reason}"
    return Diagnosis(ERROR, text, "images are refused")


def _report_warning(status: NodeStatus) -> Diagnosis:
    topic, text = next(reversed(list(status.warnings.items())), ("", _WAITING))
    return Diagnosis(ERROR, f"no output: {text}", f"no output: {topic}")


def _check_topic(what: str, topic: InputStatus) -> Diagnosis | None:
    """Tell why no message came on a topic that has publishers."""
    if topic.type not in topic.publishers:
        transport = _TRANSPORTS.get((what, topic.publishers[0]))
        advice = f"set {transport}" if transport else f"remap {topic.topic} to a topic of that type"
        return Diagnosis(ERROR, f"{topic.name} carries {topic.publishers[0]}, expected {topic.type}; {advice}")
    if topic.incompatible and topic.is_silent:
        return Diagnosis(ERROR, explain_qos(topic.name, topic.incompatible))
    if not topic.messages and (found := _check_latched(topic)):
        return found
    if not topic.messages:
        return Diagnosis(ERROR, f"no {what}: {topic.name} has a publisher, but no message has come; is it running?")
    return None


def explain_qos(topic: str, policy: str) -> str:
    """Say that a publisher and this node disagree on a QoS policy, and what to do."""
    loosest = _LOOSEST.get(policy, "what it offers")
    return (
        f"QoS: the publisher of {topic} does not offer this node's {policy}; set the parameter"
        f" qos_overrides.{topic}.subscription.{policy} to {loosest}"
    )


def _suggest_images(status: NodeStatus) -> str:
    if not status.image_topics:
        return "there is no image topic at all: is the camera's driver running, and is ROS_DOMAIN_ID the same?"
    names, first = ", ".join(status.image_topics), status.image_topics[0]
    compressed = first.endswith("/compressed")
    topic = "image/compressed" if compressed else "image"
    transport = "" if topic == status.image.topic else f"-p image_transport:={'compressed' if compressed else 'raw'} "
    return f"image topics that exist: {names}; remap with --ros-args {transport}-r {topic}:={first}"


_CHECKS: tuple[Callable[[NodeStatus], Diagnosis | None], ...] = (
    _check_state, _check_pause, _check_output, _check_processing, _check_startup, _check_image, _check_clock, _check_others,
    _check_needs, _check_rejections, _report_warning,
)  # fmt: skip
_NO_CLOCK = (
    "use_sim_time is set and there is no /clock; start the simulation, play the bag with its clock (ros2 bag play --clock),"
    " or unset use_sim_time"
)
_WAITING = "the images that came have not come out yet; each waits a second of ROS time for what it needs"
_LOOSEST = {"reliability": "best_effort", "durability": "volatile"}
_TRANSPORTS = {
    ("image", "sensor_msgs/msg/Image"): "image_transport to raw and remap image",
    ("image", "sensor_msgs/msg/CompressedImage"): "image_transport to compressed and remap image/compressed",
    ("depth", "sensor_msgs/msg/Image"): "depth_transport to raw and remap depth",
    ("depth", "sensor_msgs/msg/CompressedImage"): "depth_transport to compressedDepth and remap depth/compressedDepth",
}
_SOURCES = {
    "camera_info": "remap camera_info to the camera's",
    "depth": "remap depth to the registered depth image, stamped as the image is; if it is that, messages are lost on the way:"
    " docs/ros_operations.md, Throughput",
    "pose": "is localization running? See pose_source and world_frame",
}


def _format_ms(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f}"
