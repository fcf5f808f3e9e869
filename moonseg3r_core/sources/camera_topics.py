"""Choose the topics of one camera: colour, depth, camera_info. Pure functions of names and of what the topics tell."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from moonseg3r_core.sources.bag_parts import Topic
from moonseg3r_core.sources.depth_alignment import is_registered
from moonseg3r_core.sources.topic_facts import CAMERA_INFO, IMAGE, BagFacts, TopicFacts
from moonseg3r_core.sources.video_codecs import find_video_codec

OTHER_IMAGES = re.compile(
    r"infra|/ir\b|/ir/|mask|label|segment|semantic|confidence|disparity|thermal|debug|overlay|annotated"
)
DEPTH_ENCODINGS = ("16uc1", "32fc1")
RARE_SHARE = 0.1  # a topic with fewer messages than this share of the colour's is no stream of the same camera
MAX_BASELINE_M, MIN_AXES_COSINE = 1.0, 0.5  # between the cameras of one RGB-D sensor: a metre and 60 degrees
TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg", "foxglove")


def strip_transport(name: str) -> str:
    """Return an image topic's name without the ending of its transport."""
    base, _, last = name.rpartition("/")
    return base if last in TRANSPORTS else name


def name_sibling(image: str) -> str:
    """Return the name of the camera_info beside an image topic, as image_transport finds it."""
    return f"{strip_transport(image).rpartition('/')[0]}/camera_info"


def means_depth(name: str) -> bool:
    """True when a name means depth images and not only a depth camera."""
    return "depth" in re.sub(r"depth_?cam(era)?|depthai", "", name.lower())


def is_depth(topic: Topic, facts: TopicFacts) -> bool:
    """True for a topic of depth images: by encoding where it is known, whatever the name, else by name."""
    encoding = facts.encoding
    if not encoding:
        return means_depth(topic.name)
    if encoding.startswith(DEPTH_ENCODINGS) or "compresseddepth" in encoding:
        return not OTHER_IMAGES.search(topic.name.lower()) or means_depth(topic.name)
    return encoding == "mono16" and means_depth(topic.name)


def score_color(topic: Topic, facts: TopicFacts, most: int) -> float:
    """Score a topic as the colour image: rgb and color before image, raw before compressed, infrared and video last.

    `most`: the number of messages of the fullest image topic.
    """
    name = topic.name.lower()
    kind = 2.0 if re.search(r"rgb|colou?r", name) else 1.0 if "image" in name else 0.0
    bad = 4.0 * bool(OTHER_IMAGES.search(name)) + 4.0 * means_depth(name) * bool(facts.encoding)
    bad += 2.0 * bool(find_video_codec(facts.encoding)) + 2.0 * (topic.count < RARE_SHARE * most)
    bad += 8.0 * facts.encoding.startswith((*DEPTH_ENCODINGS, "32sc1", "mono16"))
    return kind - 0.5 * (topic.type == IMAGE[1]) - bad


def choose_color(topics: Sequence[Topic], facts: BagFacts) -> list[Topic]:
    """List the colour topics that are equally good by score, the first of them being the choice."""
    images = [t for t in topics if t.type in IMAGE and not is_depth(t, facts.of(t))]
    most = max((topic.count for topic in images), default=0)
    scores = {topic: score_color(topic, facts.of(topic), most) for topic in images}
    return [topic for topic in images if scores[topic] == max(scores.values())]


def score_depth(topic: Topic, color: Topic, facts: BagFacts, camera: Callable[[str, str], np.ndarray | None]) -> float:
    """Score a topic as the depth of `color`: same frame, registered, similar names and size, raw before compressed."""
    name, own, theirs = topic.name.lower(), facts.of(topic), facts.of(color)
    score = 3.0 * is_registered(name) + 1.0 * bool(re.search(r"rgb|colou?r", name))
    score += 0.5 * compute_overlap(topic.name, color.name) - 0.5 * (topic.type == IMAGE[1])
    score -= 4.0 * bool(OTHER_IMAGES.search(name)) + 2.0 * (topic.count < RARE_SHARE * color.count)
    if topic.type == IMAGE[1] and "compresseddepth" not in name:
        score -= 2.0
    if own.frame and theirs.frame:
        score += 4.0 if own.frame == theirs.frame else 1.0 * (camera(theirs.frame, own.frame) is not None)
    score += 0.5 * bool(set(own.stamps) & set(theirs.stamps)) + 0.25 * (
        own.size is not None and own.size == theirs.size
    )
    return score


def choose_depth(
    topics: Iterable[Topic], color: Topic, facts: BagFacts, camera: Callable[[str, str], np.ndarray | None]
) -> Topic | None:
    """Choose the depth of a colour topic; `camera(a, b)` gives a_from_b (4, 4) where it is known.

    A camera that looks elsewhere, or sits elsewhere, is another one.
    """
    theirs = facts.of(color).frame
    near = [topic for topic in topics if not _is_elsewhere(camera(theirs, facts.of(topic).frame))]
    return max(near, key=lambda topic: score_depth(topic, color, facts, camera), default=None)


def choose_info(topics: Sequence[Topic], image: Topic, facts: BagFacts) -> Topic | None:
    """Choose the camera_info of an image topic: the one beside it, or one of the same frame and size.

    None where all belong to other cameras.
    """
    infos = [topic for topic in topics if topic.type in CAMERA_INFO]
    names = {topic.name for topic in topics if topic.type in IMAGE}
    own = [info for info in infos if belongs(info, image, facts, names)]
    return max(own, key=lambda info: score_info(info, image, facts), default=None)


def score_info(info: Topic, image: Topic, facts: BagFacts) -> float:
    """Score a camera_info that may be an image's: frame and size before the place beside it."""
    own, theirs = facts.of(info), facts.of(image)
    same_frame, same_size = bool(own.frame) and own.frame == theirs.frame, own.size == theirs.size
    beside = info.name == name_sibling(image.name)
    return 2.0 * same_frame + 2.0 * same_size + 1.5 * beside + 0.5 * compute_overlap(info.name, image.name)


def belongs(info: Topic, image: Topic, facts: BagFacts, images: Collection[str]) -> bool:
    """True when a camera_info may be an image's: it is beside it, or has its frame and size; unknown ones by namespace.

    One beside an image of `images` in another namespace is that image's.
    """
    own, theirs = facts.of(info), facts.of(image)
    if info.name == name_sibling(image.name):
        return True
    if own.size and theirs.size and own.size != theirs.size:
        return False
    is_others = any(name_sibling(name) == info.name for name in images)
    if is_others and info.name.split("/")[1] != image.name.split("/")[1]:
        return False
    if own.frame and theirs.frame:
        return own.frame == theirs.frame
    if own.size or own.frame:  # one of both names no frame
        return strip_transport(image.name).startswith(info.name.rpartition("/")[0] + "/")
    return means_depth(image.name) or not means_depth(info.name)  # nothing is known


def compute_overlap(one: str, other: str) -> float:
    """Compute the share of the namespaces that two topics have in common."""
    a, b = one.split("/")[:-1], other.split("/")[:-1]
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
    return shared / max(len(a), len(b), 1)


def find_namespaces(one: str, other: str) -> tuple[str, str]:
    """Find the outermost namespaces in which two topics differ; the same for topics of one namespace."""
    a, b = one.split("/")[:-1], other.split("/")[:-1]
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
    return "/".join(a[: shared + 1]), "/".join(b[: shared + 1])


def _is_elsewhere(color_from_depth: np.ndarray | None) -> bool:
    if color_from_depth is None:
        return False
    return bool(np.linalg.norm(color_from_depth[:3, 3]) > MAX_BASELINE_M or color_from_depth[2, 2] < MIN_AXES_COSINE)
