"""Choose the topics of a bag: as requested, or else by type and name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from moonseg3r_core.errors import SourceError

if TYPE_CHECKING:  # the reader of bags is not light, and every configuration imports this package
    from moonseg3r_core.sources.bag_reader import Topic

IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = ("sensor_msgs/msg/CameraInfo",)
TF = ("tf2_msgs/msg/TFMessage",)
POSE = ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
OTHER_IMAGES = re.compile(r"infra|/ir\b|/ir/|mask|label|segment|confidence|disparity|thermal|debug|overlay|annotated")


@dataclass(frozen=True)
class Topics:
    """The requested topics and world frame; None leaves the choice to type and name."""

    color: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    pose: str | None = None
    world: str | None = None


@dataclass(frozen=True)
class TopicSelection:
    """The topics to read; None where the bag has none. `pose` replaces /tf."""

    color: Topic
    depth: Topic | None
    camera_info: Topic | None
    pose: Topic | None
    transforms: tuple[Topic, ...]

    @property
    def names(self) -> frozenset[str]:
        single = (self.color, self.depth, self.camera_info, self.pose)
        return frozenset(topic.name for topic in (*single, *self.transforms) if topic)

    def __str__(self) -> str:
        poses = ", ".join(topic.name for topic in ((self.pose,) if self.pose else ()) + self.transforms)
        rest = (("depth", self.depth), ("camera_info", self.camera_info))
        parts = [f"color {self.color.name}", *(f"{name} {topic.name if topic else 'none'}" for name, topic in rest)]
        return ", ".join([*parts, f"poses {poses or 'none'}"])


def choose_topics(topics: list[Topic], requested: Topics) -> TopicSelection:
    """Choose the topics to read. Raises SourceError when a requested topic or every image topic is missing."""
    filled = [topic for topic in topics if topic.count]
    for field in fields(requested):
        name = getattr(requested, field.name)
        if field.name != "world" and name is not None and not _find_topic(name, filled):
            found = describe_topics(topics)
            raise SourceError(f"the bag has no messages on {field.name} topic {name}; it holds: {found}.")
    images = [topic for topic in filled if topic.type in IMAGE]
    color = _find_topic(requested.color, images) or _find_best([t for t in images if not is_depth(t)], score_color)
    if color is None:
        raise SourceError(
            f"the bag holds no colour image topic; expected one of type {IMAGE[0]}, got: {describe_topics(topics)}."
        )
    depths = [t for t in images if is_depth(t) and t != color]
    transforms = tuple(topic for topic in filled if topic.type in TF)
    moving = any(not is_static(topic.name) for topic in transforms)
    return TopicSelection(
        color,
        _find_topic(requested.depth, images) or _find_best(depths, lambda topic: score_depth(topic, color)),
        _find_topic(requested.camera_info, filled) or _find_best(
            [t for t in filled if t.type in CAMERA_INFO and not (is_depth(t) and not is_depth(color))],
            lambda topic: _compute_namespace_overlap(topic, color),
        ),
        _find_topic(requested.pose, filled) or (None if moving else _find_best([t for t in filled if t.type in POSE], lambda _: 0)),
        transforms,
    )  # fmt: skip


def is_static(topic: str) -> bool:
    """True for a topic of static transforms."""
    return topic.endswith("tf_static")


def is_depth(topic: Topic) -> bool:
    """True when the name means depth images and not only a depth camera."""
    return "depth" in re.sub(r"depth_?cam(era)?|depthai", "", topic.name.lower())


def score_color(topic: Topic) -> float:
    """Score a topic as the colour image: rgb and color before image, raw before compressed, infrared last."""
    name = topic.name.lower()
    kind = 2.0 if re.search(r"rgb|colou?r", name) else 1.0 if "image" in name else 0.0
    return kind - 0.5 * (topic.type == IMAGE[1]) - 4.0 * bool(OTHER_IMAGES.search(name))


def score_depth(topic: Topic, color: Topic) -> float:
    """Score a topic as the depth of `color`: registered first, then similar names, raw before compressed."""
    name = topic.name.lower()
    registered = 3.0 * bool(re.search(r"aligned|registered", name)) + 1.0 * bool(re.search(r"rgb|colou?r", name))
    coded = topic.type == IMAGE[1]
    bad = 2.0 * (coded and "compresseddepth" not in name) + 4.0 * bool(OTHER_IMAGES.search(name))
    return registered + 0.5 * _compute_namespace_overlap(topic, color) - 0.5 * coded - bad


def describe_topics(topics: list[Topic]) -> str:
    """List the topics in words, for error messages."""
    return ", ".join(f"{topic.name} ({topic.type}, {topic.count})" for topic in topics) or "no topic at all"


def _compute_namespace_overlap(topic: Topic, color: Topic) -> float:
    folders, others = topic.name.split("/")[:-1], color.name.split("/")[:-1]
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(folders, others, strict=False)))
    return shared / max(len(folders), len(others), 1)


def _find_topic(name: str | None, topics: list[Topic]) -> Topic | None:
    return next((topic for topic in topics if topic.name == name), None)


def _find_best(topics: list[Topic], score: Callable[[Topic], float]) -> Topic | None:
    return max(topics, key=score, default=None)
