"""Choose the topics of a bag: as requested, or else those of one camera of one robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.bag_parts import Topic
from moonseg3r_core.sources.camera_topics import (
    choose_color,
    choose_depth,
    choose_info,
    compute_overlap,
    find_namespaces,
    is_depth,
    name_sibling,
    strip_transport,
)
from moonseg3r_core.sources.depth_alignment import DepthUnaligned, find_depth_camera
from moonseg3r_core.sources.messages import explain_misfit, is_rectified
from moonseg3r_core.sources.requested_topics import Topics
from moonseg3r_core.sources.topic_facts import CAMERA_INFO, IMAGE, TF, BagFacts, is_static
from moonseg3r_core.sources.transform_topics import (
    TransformChoice,
    TransformGroup,
    choose_transforms,
    describe_robots,
    group_transforms,
)
from moonseg3r_core.sources.transforms import TransformBuffer, TransformError
from moonseg3r_core.sources.video_codecs import VIDEO_TYPES

__all__ = ["TopicSelection", "Topics", "choose_topics", "is_static"]

POSE = ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
PATH = ("nav_msgs/msg/Path",)
NO_TOPICS = ("world", "robot")  # fields of a request that name no topic


@dataclass(frozen=True)
class TopicSelection:
    """The topics to read; None where the bag has none. `pose` replaces /tf.

    absent: why a part ("depth", "intrinsics", "poses") is not there; notes: what a user should know of the choice;
    unusable: what is there and cannot be used, for those who go on without it.
    """

    color: Topic
    depth: Topic | None
    camera_info: Topic | None
    pose: Topic | None
    transforms: tuple[Topic, ...]
    depth_info: Topic | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    path: Topic | None = None

    @property
    def names(self) -> frozenset[str]:
        single = (self.color, self.depth, self.camera_info, self.depth_info, self.pose, self.path)
        return frozenset(topic.name for topic in (*single, *self.transforms) if topic)

    def __str__(self) -> str:
        poses = ", ".join(topic.name for topic in ((self.pose,) if self.pose else ()) + self.transforms)
        rest = (("depth", self.depth), ("camera_info", self.camera_info))
        parts = [f"color {self.color.name}", *(f"{name} {topic.name if topic else 'none'}" for name, topic in rest)]
        return ", ".join([*parts, f"poses {poses or 'none'}"])


def choose_topics(topics: list[Topic], requested: Topics, facts: BagFacts | None = None) -> TopicSelection:
    """Choose the topics to read; `facts` is what is known of them, without which their names decide.

    Raises SourceError when a requested topic or every image topic is missing, and for two robots of which none is named.
    """
    return _Choice(topics, requested, facts or BagFacts()).choose()


def describe_topics(topics: Sequence[Topic], facts: BagFacts | None = None) -> str:
    """List the topics in words, for error messages."""
    known = facts or BagFacts()
    words = [(t.name, known.of(t).encoding or t.type, t.count) for t in topics]
    return ", ".join(f"{name} ({kind}, {count})" for name, kind, count in words) or "no topic at all"


class _Choice:
    """The steps of one choice: colour first, then what belongs to it."""

    def __init__(self, topics: list[Topic], requested: Topics, facts: BagFacts) -> None:
        self.topics, self.requested, self.facts = topics, requested, facts
        self.filled = [topic for topic in topics if topic.count]
        self.groups = group_transforms([topic for topic in self.filled if self._may_be_tree(topic)], facts)
        self.robot = f"/{requested.robot.strip('/')}" if requested.robot else ""
        self.notes: list[str] = []
        self.unusable: list[str] = []
        self.absent: dict[str, str] = {}

    def choose(self) -> TopicSelection:
        self._check_requested()
        color = self._choose_color()
        tree = self._choose_tree(color)
        own = [topic for topic in self.filled if not self._is_of_other_robot(topic, tree)]
        info = self._choose_info(own, color)
        depth, depth_info = self._choose_depth(own, color, info, tree)
        pose = self._find("pose", POSE) or self._choose_pose(own, color, tree)
        if tree.fault and pose is None:
            why = f"{tree.fault}: two robots or two publishers; take a pose topic with --topic pose=TOPIC"
            self.absent["poses"] = why
            self.unusable.append(f"no poses: {why}")
        self.notes += [f"{prefix or '/'} is left out: {why}" for prefix, why in tree.left_out.items()]
        return TopicSelection(
            color,
            depth,
            info,
            pose,
            tree.topics,
            depth_info,
            dict(self.absent),
            tuple(self.notes),
            tuple(self.unusable),
            self._find("path", PATH),
        )

    def _check_requested(self) -> None:
        for each in fields(self.requested):
            name = getattr(self.requested, each.name)
            if each.name not in NO_TOPICS and name is not None and not any(t.name == name for t in self.filled):
                found = describe_topics(self.topics)
                raise SourceError(f"the bag has no messages on {each.name} topic {name}; it holds: {found}.")
        if self.robot and not any(topic.name.startswith(self.robot + "/") for topic in self.filled):
            names = sorted({topic.name.split("/")[1] for topic in self.filled if topic.name.count("/") > 1})
            raise SourceError(
                f"the bag has no topics of robot {self.robot[1:]}; its namespaces are {', '.join(names) or 'none'}."
            )

    def _find(self, name: str, types: Sequence[str]) -> Topic | None:
        """Return the requested topic; None where none is requested."""
        wanted = getattr(self.requested, name)
        return next((topic for topic in self.filled if topic.name == wanted and topic.type in types), None)

    def _choose_color(self) -> Topic:
        found = self._find("color", IMAGE)
        if found:
            return found
        mine = [topic for topic in self.filled if topic.name.startswith(self.robot + "/")] if self.robot else []
        best = choose_color(mine, self.facts) or choose_color(self.filled, self.facts)
        if not best:
            raise SourceError(self._explain_missing_color())
        self._refuse_two_robots(best)
        if len(best) > 1:
            others = ", ".join(topic.name for topic in best[1:])
            self.notes.append(f"colour is {best[0].name}; there is also {others}: choose with --topic color=TOPIC")
        return best[0]

    def _explain_missing_color(self) -> str:
        videos = [topic for topic in self.filled if VIDEO_TYPES.search(topic.type)]
        hint = f" {videos[0].name} is a video stream; decode it to {IMAGE[0]} first." if videos else ""
        there = describe_topics(self.topics, self.facts)
        return f"the bag holds no colour image topic; expected one of type {IMAGE[0]}, got: {there}.{hint}"

    def _refuse_two_robots(self, best: Sequence[Topic]) -> None:
        """Raise SourceError when equally good colour topics are of several robots."""
        first, *others = best
        for other in others:
            prefixes = find_namespaces(first.name, other.name)
            if prefixes[0] != prefixes[1] and (why := self._tell_apart(first, other, prefixes)):
                raise SourceError(describe_robots(prefixes, why) + ".")

    def _tell_apart(self, one: Topic, other: Topic, prefixes: Sequence[str]) -> str:
        """Say why two colour topics of different namespaces are of two robots; empty where they may be of one."""
        if all(any(group.prefix == prefix for group in self.groups) for prefix in prefixes):
            return "each with its own transforms"
        own, theirs = self.facts.of(one), self.facts.of(other)
        names = {topic.name for topic in self.filled}
        have_infos = all(name_sibling(topic.name) in names for topic in (one, other))
        is_same = own.frame and own.frame == theirs.frame and not set(own.stamps) & set(theirs.stamps)
        return f"both cameras have the frame '{own.frame}'" if is_same and have_infos else ""

    def _choose_tree(self, color: Topic) -> TransformChoice:
        """Choose the transforms, by the namespace of the requested ones, of the robot, or of the colour topic."""
        wanted = [name for name in (self.requested.tf, self.requested.tf_static) if name]
        near = wanted[0] if wanted else color.name
        if self.robot and not near.startswith(self.robot + "/"):
            near = f"{self.robot}/"
        return choose_transforms(self.groups, near, self.facts.of(color).frame)

    def _may_be_tree(self, topic: Topic) -> bool:
        wanted = self.requested.tf_static if is_static(topic.name) else self.requested.tf
        return topic.type in TF and wanted in (None, topic.name)

    def _is_of_other_robot(self, topic: Topic, tree: TransformChoice) -> bool:
        inside = self.robot and topic.name.startswith(self.robot + "/")
        others = [prefix for prefix in tree.left_out if prefix]
        return not inside and any(topic.name.startswith(prefix + "/") for prefix in others)

    def _choose_info(self, own: Sequence[Topic], color: Topic) -> Topic | None:
        """Choose the camera_info of the colour; none where its size and shape are those of other images."""
        info = self._find("camera_info", CAMERA_INFO) or choose_info(own, color, self.facts)
        if info is None:
            self.absent["intrinsics"] = self._explain("camera_info", [t for t in self.filled if t.type in CAMERA_INFO])
            return None
        size, message = self.facts.of(color).size, self.facts.of(info).info
        if size and message is not None and (misfit := explain_misfit(message, size, is_rectified(color.name))):
            self.absent["intrinsics"] = f"{info.name}: {misfit.rstrip('.')}"
            self.unusable.append(f"{info.name} is left out: {misfit.rstrip('.')}")
            return None
        return info

    def _choose_depth(
        self, own: Sequence[Topic], color: Topic, info: Topic | None, tree: TransformChoice
    ) -> tuple[Topic | None, Topic | None]:
        """Choose the depth and its camera_info; none where the depth is of another frame and cannot be registered."""
        images = [
            topic for topic in own if topic.type in IMAGE and strip_transport(topic.name) != strip_transport(color.name)
        ]
        extrinsics = Extrinsics(tree.groups)
        candidates = [topic for topic in images if is_depth(topic, self.facts.of(topic))]
        depth = self._find("depth", IMAGE) or choose_depth(candidates, color, self.facts, extrinsics.find)
        if depth is None:
            self.absent["depth"] = self._explain("depth", images)
            return None, None
        depth_info = self._find("depth_camera_info", CAMERA_INFO) or choose_info(own, depth, self.facts)
        facts = [self.facts.of(topic) for topic in (color, depth, info, depth_info)]
        try:
            infos = facts[2].info, facts[3].info
            camera = find_depth_camera((facts[0].frame, facts[1].frame), depth.name, infos, False, extrinsics.lookup)
        except DepthUnaligned as why:
            self.absent["depth"] = f"{depth.name}: {why}"
            self.unusable.append(f"{depth.name} is left out: {why}")
            return None, None
        if camera is not None:
            registers = depth_info.name if depth_info else "its camera_info"
            self.notes.append(
                f"{depth.name} (frame '{facts[1].frame}') is registered to {color.name} (frame '{facts[0].frame}') with {registers} and"
                " the transforms"
            )
        is_registered = camera is None and bool(facts[0].frame) and facts[0].frame == facts[1].frame
        return depth, None if is_registered else depth_info

    def _choose_pose(self, own: Sequence[Topic], color: Topic, tree: TransformChoice) -> Topic | None:
        """Choose a pose topic where no transforms move."""
        if any(not is_static(topic.name) for topic in tree.topics):
            return None
        found = [topic for topic in own if topic.type in POSE]
        return max(found, key=lambda topic: compute_overlap(topic.name, color.name), default=None)

    def _explain(self, name: str, there: Sequence[Topic]) -> str:
        """Say which topics there are that were not taken, and how to name one."""
        if not there:
            return f"it has no other topic that could be {name}"
        return f"none is known to belong to the colour, there is {self._describe(there)}; name one with --topic {name}=TOPIC"

    def _describe(self, topics: Sequence[Topic]) -> str:
        words = []
        for topic in topics:
            facts = self.facts.of(topic)
            size = f"{facts.size[1]}x{facts.size[0]}" if facts.size else ""
            kinds = [facts.encoding, size, facts.frame and f"frame '{facts.frame}'"]
            words.append(f"{topic.name} ({', '.join(filter(None, kinds)) or topic.type})")
        return ", ".join(words)


class Extrinsics:
    """Looks up where one camera sits in another's frame by the first transforms; moving ones stand still."""

    def __init__(self, groups: Sequence[TransformGroup]) -> None:
        self.buffer = TransformBuffer(np.inf)
        for edge in (edge for group in groups for edge in (*group.moving, *group.static)):
            if edge.parent != edge.child:
                self.buffer.add(edge.parent, edge.child, 0.0, edge.pose, static=True)

    def lookup(self, target: str, source: str) -> np.ndarray:
        """Return target_from_source (4, 4). Raises TransformError."""
        return self.buffer.lookup(target, source, 0.0)

    def find(self, target: str, source: str) -> np.ndarray | None:
        """Return target_from_source (4, 4), None where no transforms connect the two."""
        try:
            return self.lookup(target, source)
        except TransformError:
            return None
