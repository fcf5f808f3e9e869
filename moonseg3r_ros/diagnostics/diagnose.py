"""Why is there no output? What the node knows of itself and its topics, and the one cause that it tells the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

PATIENCE = 3.0  # seconds without output until a cause is sought; discovery alone may take as long
HELD = 0.5  # share of the frames that may be held until that is the verdict
SLOW = 0.2  # share of the images that may be dropped until the node is called slow

UNTRAINED = "UNTRAINED (reconstruction.random is set)"
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Verdict = tuple[bytes, str]


@dataclass(frozen=True)
class Feed:
    """A subscribed topic: its name in the node's table and as resolved, the type taken (package/msg/Name), the type of
    each publisher, how many of those are connected, how many messages came, and the QoS policy on which a publisher and
    this node disagree, if any.
    """

    topic: str
    name: str
    type: str
    publishers: tuple[str, ...] = ()
    connected: int = 0
    messages: int = 0
    silence: float | None = None  # seconds since the last message
    incompatible: str = ""

    @property
    def is_silent(self) -> bool:
        """True when no message came of late."""
        return self.silence is None or self.silence > PATIENCE


@dataclass(frozen=True)
class Flow:
    """What became of the images. Rates in Hz, times in medians; `quiet` is the seconds since the last frame came out,
    None when none has, `working` those that the frame at work has taken up to now.
    """

    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0
    reason: str = ""  # of the last rejection
    held: int = 0  # processed, but the last good pose stood in
    why_held: str = ""  # the last time
    held_rate: float = 0.0
    input_rate: float = 0.0
    output_rate: float = 0.0
    drop_rate: float = 0.0
    latency_ms: float | None = None  # from the image to its pose on the wire, without the step
    step_ms: float | None = None
    map_ms: float | None = None  # to describe, build and publish the map
    room_ms: Mapping[str, float] = field(default_factory=dict)
    quiet: float | None = None
    working: float = 0.0


@dataclass(frozen=True)
class Load:
    """What the node holds: of the instances `stored`, `instances` are published."""

    points: int = 0
    instances: int = 0
    stored: int = 0
    memory_mib: float = 0.0
    gpu_mib: float = 0.0


@dataclass(frozen=True)
class Facts:
    """All that the verdict is drawn from.

    needs: what the reconstruction takes beside the image, "camera_info", "depth" or "pose", and where it comes from;
    others: what else is subscribed; untrained: the net is one of random numbers; causes: what was complained of lately, by kind, the newest last; image_topics: others that exist; heard: published
    topics that somebody listens to; age: seconds since the state was entered.
    """

    node: str
    state: str
    image: Feed
    needs: Mapping[str, Feed] = field(default_factory=dict)
    others: tuple[Feed, ...] = ()
    flow: Flow = Flow()
    load: Load = Load()
    fault: str = ""
    paused: bool = False
    untrained: bool = False
    clock_missing: bool = False
    causes: Mapping[str, str] = field(default_factory=dict)
    image_topics: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    age: float = PATIENCE


def verdict(facts: Facts) -> Verdict:
    """The level, and one line: all is well, or the likeliest cause of there being no output and what to do."""
    level, text = next(found for rule in _RULES if (found := rule(facts)))
    if facts.untrained:
        level, text = max(level, WARN), f"{UNTRAINED}: {text}"
    return level, " ".join(text.split())


def status_message(stamp: Time, facts: Facts) -> DiagnosticArray:
    """The verdict with all numbers, for /diagnostics."""
    level, text = verdict(facts)
    flow, load = facts.flow, facts.load
    values = {
        "state": "paused" if facts.paused else facts.state,
        "frames received": str(flow.received),
        "frames processed": str(flow.processed),
        "frames dropped": str(flow.dropped),
        "frames rejected": str(flow.rejected),
        "frames held": str(flow.held),
        "last held": flow.why_held,
        "input rate": f"{flow.input_rate:.2f}",
        "output rate": f"{flow.output_rate:.2f}",
        "latency ms": _rounded(flow.latency_ms),
        "step ms": _rounded(flow.step_ms),
        "map ms": _rounded(flow.map_ms),
        **{f"{room} ms": _rounded(ms) for room, ms in flow.room_ms.items()},
        "map points": str(load.points),
        "instances": str(load.instances),
        "instances stored": str(load.stored),
        "memory MiB": f"{load.memory_mib:.0f}",
        "GPU MiB": f"{load.gpu_mib:.0f}",
        **{
            feed.name: f"{feed.connected} connected, {feed.messages} messages"
            for feed in (facts.image, *facts.needs.values(), *facts.others)
        },
        "listened to": " ".join(facts.heard),
        "last complaint": next(reversed(list(facts.causes.values())), ""),
    }
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    status = DiagnosticStatus(level=level, name=f"{facts.node}: output", message=text, hardware_id=facts.image.name)
    status.values = pairs
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _inactive(facts: Facts) -> Verdict | None:
    if facts.state == "active":
        return None
    if facts.fault:
        return ERROR, f"{'not configured' if facts.state == 'unconfigured' else facts.state}: {facts.fault}"
    if facts.state == "unconfigured":
        return WARN, f"not configured; ros2 lifecycle set {facts.node} configure"
    return WARN, f"{facts.state}; ros2 lifecycle set {facts.node} activate"


def _paused(facts: Facts) -> Verdict | None:
    return (WARN, f"paused; ros2 service call {facts.node}/resume std_srvs/srv/Trigger") if facts.paused else None


def _running(facts: Facts) -> Verdict | None:
    flow = facts.flow
    if flow.quiet is None or flow.quiet > PATIENCE:
        return None
    if facts.clock_missing:
        return WARN, f"images come out late: {_NO_CLOCK}"
    if flow.held_rate > HELD * flow.output_rate:
        return WARN, (
            f"held: {flow.held_rate:.1f} of {flow.output_rate:.1f} images/s add nothing to the map, and the last good"
            f" pose stands: {flow.why_held}"
        )
    if said := facts.causes.get("tf"):
        return WARN, said
    if flow.drop_rate > SLOW * flow.input_rate:
        return WARN, (
            f"slow: {flow.output_rate:.1f} of {flow.input_rate:.1f} images/s come out, a step takes"
            f" {_rounded(flow.step_ms)} ms; always the newest is taken, {flow.dropped} were dropped"
        )
    return OK, f"OK: {flow.output_rate:.1f} images/s, a step takes {_rounded(flow.step_ms)} ms"


def _working(facts: Facts) -> Verdict | None:
    working = facts.flow.working
    if working > PATIENCE:
        return WARN, f"slow: one image has been in work for {working:.0f} s"
    if working and facts.flow.quiet is None and not facts.flow.rejected:
        return OK, f"the first image has been in work for {working:.1f} s"
    return None


def _starting(facts: Facts) -> Verdict | None:
    return (OK, f"active for {facts.age:.1f} s; waiting for the first image") if facts.age < PATIENCE else None


def _image(facts: Facts) -> Verdict | None:
    feed = facts.image
    if not feed.publishers:
        return ERROR, f"no publisher on {feed.name}; {_other_images(facts)}"
    if found := _unheard("image", feed):
        return found
    if feed.is_silent:
        return ERROR, f"no image for {feed.silence:.1f} s on {feed.name}; has the camera stopped?"
    return None


def _clock(facts: Facts) -> Verdict | None:
    return (ERROR, f"no output: {_NO_CLOCK}") if facts.clock_missing else None


def _needs(facts: Facts) -> Verdict | None:
    for need, feed in facts.needs.items():
        if not feed.publishers:
            return ERROR, f"no {need}: no publisher on {feed.name}; {_SOURCES[need]}"
        if found := _unheard(need, feed):
            return found
        if said := facts.causes.get(f"no {need}"):
            return ERROR, f"{said}; {_SOURCES[need]}"
    return None


def _refused(facts: Facts) -> Verdict | None:
    if said := facts.causes.get("future stamp"):
        return ERROR, said
    if not facts.flow.rejected:
        return None
    return ERROR, f"images are refused, {facts.flow.rejected} up to now: {facts.flow.reason}"


def _complaint(facts: Facts) -> Verdict:
    """When nothing else is known: the newest that was complained of."""
    newest = next(reversed(list(facts.causes.values())), _WAITING)
    return ERROR, f"no output: {newest}"


def _unheard(what: str, feed: Feed) -> Verdict | None:
    """Why nothing is heard of a topic that has publishers."""
    if feed.type not in feed.publishers:
        return ERROR, f"{feed.name} carries {feed.publishers[0]}, expected {feed.type}; {_other_type(what, feed)}"
    if feed.incompatible and feed.is_silent:
        return ERROR, (
            f"QoS: the publisher of {feed.name} does not offer this node's {feed.incompatible}; set the parameter"
            f" qos_overrides.{feed.name}.subscription.{feed.incompatible}"
            f" to {_LOOSEST.get(feed.incompatible, 'what it offers')}"
        )
    if not feed.messages:
        return ERROR, f"no {what}: {feed.name} has a publisher, but no message has come; is it running?"
    return None


def _other_images(facts: Facts) -> str:
    if not facts.image_topics:
        return "there is no image topic at all: is the camera's driver running, and is ROS_DOMAIN_ID the same?"
    names, first = ", ".join(facts.image_topics), facts.image_topics[0]
    compressed = first.endswith("/compressed")
    topic = "image/compressed" if compressed else "image"
    transport = "" if topic == facts.image.topic else f"-p image_transport:={'compressed' if compressed else 'raw'} "
    return f"image topics that exist: {names}; remap with --ros-args {transport}-r {topic}:={first}"


def _other_type(what: str, feed: Feed) -> str:
    transport = _TRANSPORTS.get((what, feed.publishers[0]))
    return f"set {transport}" if transport else f"remap {feed.topic} to a topic of that type"


_RULES: tuple[Callable[[Facts], Verdict | None], ...] = (
    _inactive, _paused, _running, _working, _starting, _image, _clock, _needs, _refused, _complaint,
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


def _rounded(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f}"
