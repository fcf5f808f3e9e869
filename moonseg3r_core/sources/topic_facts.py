"""What the first messages of a bag's topics tell about them: frames, sizes, encodings, stamps, transforms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.sources.bag_parts import Message, Topic
from moonseg3r_core.sources.bag_reader import read_messages
from moonseg3r_core.sources.messages import read_image_size, read_info_size, read_stamp, read_transform
from moonseg3r_core.sources.transforms import TransformError, clean_frame

IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = ("sensor_msgs/msg/CameraInfo",)
TF = ("tf2_msgs/msg/TFMessage",)
FIRST_MESSAGES = {IMAGE[0]: 3, IMAGE[1]: 3, CAMERA_INFO[0]: 3, TF[0]: 40}  # read of a topic
TF_OF_SEVERAL = 400  # where topics of transforms are to be compared
MAX_STATIC = 200  # messages of static transforms
WINDOW_S = 2.0  # after the first image
MAX_MESSAGES = 20_000


@dataclass(frozen=True)
class EdgeSample:
    """One transform: parent_from_child (4, 4) at a stamp in seconds."""

    parent: str
    child: str
    stamp: float
    pose: np.ndarray


@dataclass(frozen=True)
class TopicFacts:
    """What is known of a topic. Empty or None: unknown.

    frame: header.frame_id; size: (H, W) of the image, or of the images that a camera_info is for; encoding: of an Image,
    or the format of a CompressedImage, in lower case; info: the first CameraInfo; stamps: of the first messages, seconds;
    edges: of a topic of transforms.
    """

    frame: str = ""
    size: tuple[int, int] | None = None
    encoding: str = ""
    info: Any | None = None
    stamps: tuple[float, ...] = ()
    edges: tuple[EdgeSample, ...] = ()


UNKNOWN = TopicFacts()


@dataclass
class BagFacts:
    """The facts of a bag's topics by name."""

    topics: Mapping[str, TopicFacts] = field(default_factory=dict)

    def of(self, topic: Topic | None) -> TopicFacts:
        """Return what is known of a topic."""
        return UNKNOWN if topic is None else self.topics.get(topic.name, UNKNOWN)


def read_facts(path: Path, topics: list[Topic]) -> BagFacts:
    """Read the facts of images, camera_infos and transforms from the first messages of each, of two seconds at most."""
    known = [topic for topic in topics if topic.type in FIRST_MESSAGES and topic.count]
    static = {topic.name for topic in known if is_static(topic.name)}
    several = sum(topic.type in TF and topic.name not in static for topic in known) > 1
    most = FIRST_MESSAGES | ({TF[0]: TF_OF_SEVERAL} if several else {})
    wanted = {topic.name: min(topic.count, most[topic.type]) for topic in known if topic.name not in static}
    found = _read_first(path, wanted) + _read_static(path, static)
    grouped: dict[str, list[Message]] = {}
    for message in found:
        grouped.setdefault(message.topic, []).append(message)
    return BagFacts({name: collect_facts(messages) for name, messages in grouped.items()})


def is_static(topic: str) -> bool:
    """True for a topic of static transforms."""
    return "static" in topic.rpartition("/")[2]


def collect_facts(messages: list[Message]) -> TopicFacts:
    """Collect the facts of one topic from its first messages; what cannot be decoded tells nothing."""
    decoded = []
    for message in messages:
        with suppress(Exception):  # damaged bytes make the decoder raise anything; reading reports them
            decoded.append((message.decode(), message.stamp))
    if not decoded:
        return UNKNOWN
    first = decoded[0][0]
    if hasattr(first, "transforms"):
        return TopicFacts(edges=tuple(edge for message, at in decoded for edge in _read_edges(message, at)))
    stamps = tuple(read_stamp(message.header, at) for message, at in decoded)
    frame = clean_frame(first.header.frame_id)
    if hasattr(first, "k"):
        return TopicFacts(frame, read_info_size(first, (0, 0)), "", first, stamps)
    return TopicFacts(frame, read_image_size(first), _read_encoding(first), None, stamps)


def _read_first(path: Path, wanted: dict[str, int]) -> list[Message]:
    """Read `wanted` messages of each topic, as far as they come within WINDOW_S of the first image."""
    found: list[Message] = []
    counts: Counter[str] = Counter()
    start: float | None = None
    with closing(read_messages(path, set(wanted), lambda fault: None)) as messages:
        for number, message in enumerate(messages):
            if counts[message.topic] < wanted[message.topic]:
                found.append(message)
                counts[message.topic] += 1
            start = message.stamp if start is None and message.type in IMAGE else start
            is_late = start is not None and message.stamp > start + WINDOW_S
            if is_late or number > MAX_MESSAGES or all(counts[name] >= most for name, most in wanted.items()):
                break
    return found


def _read_static(path: Path, topics: set[str]) -> list[Message]:
    with closing(read_messages(path, topics, lambda fault: None)) as messages:
        return [message for message, _ in zip(messages, range(MAX_STATIC), strict=False)]


def _read_edges(message: Any, recorded: float) -> list[EdgeSample]:
    found = []
    for transform in message.transforms:
        with suppress(TransformError):  # reading reports it
            parent, child, stamp, pose = read_transform(transform, recorded)
            found.append(EdgeSample(clean_frame(parent), clean_frame(child), stamp, pose))
    return found


def _read_encoding(image: Any) -> str:
    return (image.encoding if hasattr(image, "encoding") else image.format).strip().lower()
