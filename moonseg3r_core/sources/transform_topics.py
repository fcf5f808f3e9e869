"""Choose the topics of transforms that belong to a camera. Pure functions of what the topics' first messages tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.bag_parts import Topic
from moonseg3r_core.sources.topic_facts import BagFacts, EdgeSample, is_static

SAME_M, SAME_ENTRY = 0.01, 0.01  # two static poses are equal up to a centimetre and 0.01 in a rotation's entries
JUMP_M, JUMP_ENTRY = 0.3, 0.35  # no robot moves so far between two samples and back again
MIN_FLIPS, MIN_FLIP_SHARE = 3, 0.3


@dataclass(frozen=True)
class TransformGroup:
    """The topics of one namespace, /NS/tf and /NS/tf_static: static and moving samples."""

    prefix: str
    topics: tuple[Topic, ...]
    static: tuple[EdgeSample, ...]
    moving: tuple[EdgeSample, ...]

    @property
    def frames(self) -> frozenset[str]:
        """All frames that occur."""
        return frozenset(name for edge in (*self.static, *self.moving) for name in (edge.parent, edge.child))


@dataclass(frozen=True)
class TransformChoice:
    """The topics to read. left_out: why not those of a namespace; fault: why none gives poses, or ""."""

    topics: tuple[Topic, ...] = ()
    groups: tuple[TransformGroup, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def group_transforms(topics: Sequence[Topic], facts: BagFacts) -> list[TransformGroup]:
    """Group topics of transforms by namespace."""
    grouped: dict[str, list[Topic]] = defaultdict(list)
    for topic in topics:
        grouped[topic.name.rpartition("/")[0]].append(topic)
    return [
        TransformGroup(
            prefix,
            tuple(members),
            tuple(edge for topic in members if is_static(topic.name) for edge in facts.of(topic).edges),
            tuple(edge for topic in members if not is_static(topic.name) for edge in facts.of(topic).edges),
        )
        for prefix, members in grouped.items()
    ]


def choose_transforms(groups: Sequence[TransformGroup], near: str, frame: str) -> TransformChoice:
    """Choose the groups that belong to the topic `near`, whose camera has the frame `frame` ("" unknown).

    The nearest namespace comes first; one that contradicts it is left out. Raises SourceError when two that are equally
    near contradict each other.
    """
    order = sorted(groups, key=lambda group: rank_namespace(group.prefix, near, frame in group.frames))
    taken: list[TransformGroup] = []
    left_out: dict[str, str] = {}
    for group in order:
        against = [(other, why) for other in taken if (why := find_contradiction(other, group))]
        if not against:
            if not _is_copy_elsewhere(group, taken, near):
                taken.append(group)
            continue
        other, why = against[0]
        if rank_namespace(other.prefix, near, frame in other.frames) == rank_namespace(
            group.prefix, near, frame in group.frames
        ):
            raise SourceError(describe_robots([other.prefix, group.prefix], why))
        left_out[group.prefix] = f"{why} than {other.topics[0].name} does"
    fault = next((fault for group in taken if (fault := find_alternation(group.moving))), "")
    kept = tuple(topic for group in taken for topic in group.topics if not fault or is_static(topic.name))
    where = next((topic.name for group in taken for topic in group.topics if not is_static(topic.name)), "")
    return TransformChoice(kept, tuple(taken), left_out, f"{where} {fault}" if fault else "")


def _is_copy_elsewhere(group: TransformGroup, taken: Sequence[TransformGroup], near: str) -> bool:
    """True when a group of another namespace repeats what is taken: a second robot that stands still looks like that."""
    moved = {edge.child for other in taken for edge in other.moving} & {edge.child for edge in group.moving}
    return bool(moved) and group.prefix != "" and not near.startswith(group.prefix + "/")


def rank_namespace(prefix: str, near: str, knows_frame: bool) -> tuple[int, int]:
    """Rank a namespace by its nearness to a topic, the nearest lowest: those above the topic first, the deepest first.

    One that is not above the topic comes before the global one when it alone knows the camera's frame.
    """
    if prefix and near.startswith(prefix + "/"):
        return (0, -len(prefix))
    if knows_frame:
        return (1, 0 if prefix == "" else 1)
    return (2, 0 if prefix == "" else 1)


def find_contradiction(one: TransformGroup, other: TransformGroup) -> str:
    """Say which frame the second group places elsewhere than the first; empty where they agree."""
    for child in sorted({edge.child for edge in one.static} & {edge.child for edge in other.static}):
        a, b = (next(edge for edge in group.static if edge.child == child) for group in (one, other))
        if a.parent != b.parent or not is_same_pose(a.pose, b.pose):
            return f"{other.topics[0].name} fixes '{child}' elsewhere"
    for child in sorted({edge.child for edge in one.moving} & {edge.child for edge in other.moving}):
        ours, theirs = ([edge for edge in group.moving if edge.child == child] for group in (one, other))
        if _is_told_twice(ours, theirs):
            moving = next(topic.name for topic in other.topics if not is_static(topic.name))
            return f"{moving} moves '{child}' otherwise"
    return ""


def find_alternation(edges: Sequence[EdgeSample]) -> str:
    """Say which frame two publishers place in turn at different places, or below different parents; empty where none."""
    by_child: dict[str, list[EdgeSample]] = defaultdict(list)
    for edge in edges:
        by_child[edge.child].append(edge)
    for child, samples in by_child.items():
        flips = sum(a.parent != b.parent for a, b in pairwise(samples))
        if _are_many(flips, len(samples)):
            parents = " and ".join(f"'{name}'" for name in sorted({edge.parent for edge in samples}))
            return f"places '{child}' below {parents} in turn"
        pairs = list(pairwise(samples))
        jumps = [_measure_jump(a, b) for a, b in pairs]
        backs = sum(
            jump > 1 and _measure_jump(samples[n], samples[n + 2]) < 0.25 * jump for n, jump in enumerate(jumps[:-1])
        )
        if _are_many(backs, len(samples)):
            metres = max(float(np.linalg.norm(a.pose[:3, 3] - b.pose[:3, 3])) for a, b in pairs)
            return f"holds two transforms '{samples[0].parent}' -> '{child}' in turn, {metres:.1f} m apart"
    return ""


def describe_robots(prefixes: Sequence[str], why: str) -> str:
    """Say which robots a bag holds, and how to name one."""
    names = [prefix.strip("/") or "/" for prefix in sorted(prefixes)]
    named = next((name for name in names if name != "/"), names[0])
    return (
        f"the bag holds {len(names)} robots, {' and '.join(names)} ({why}); choose one with --robot {named}, or name its topics"
        " with --topic color=... depth=... camera_info=... tf=..."
    )


def is_same_pose(a: np.ndarray, b: np.ndarray) -> bool:
    """True when two poses (4, 4) are equal up to a centimetre and half a degree."""
    return bool(
        np.linalg.norm(a[:3, 3] - b[:3, 3]) <= SAME_M and np.abs(a[:3, :3] - b[:3, :3]).max() <= SAME_ENTRY
    )  # fmt: skip


def _is_told_twice(ours: Sequence[EdgeSample], theirs: Sequence[EdgeSample]) -> bool:
    """True when two topics move a frame independently: what both cover is not the same to the last bit, as a copy is."""
    low = max(min(edge.stamp for edge in ours), min(edge.stamp for edge in theirs))
    high = min(max(edge.stamp for edge in ours), max(edge.stamp for edge in theirs))
    a, b = ({edge.stamp: edge for edge in edges if low <= edge.stamp <= high} for edges in (ours, theirs))
    common = [(a[stamp], b[stamp]) for stamp in a.keys() & b.keys()]
    if not common:
        return bool(a and b)
    return any(x.parent != y.parent or not np.array_equal(x.pose, y.pose) for x, y in common)


def _are_many(flips: int, samples: int) -> bool:
    return flips >= MIN_FLIPS and flips >= MIN_FLIP_SHARE * samples


def _measure_jump(a: EdgeSample, b: EdgeSample) -> float:
    """Measure how far two samples lie apart; 1 is more than a robot moves."""
    return max(
        float(np.linalg.norm(a.pose[:3, 3] - b.pose[:3, 3])) / JUMP_M,
        float(np.abs(a.pose[:3, :3] - b.pose[:3, :3]).max()) / JUMP_ENTRY,
    )
