"""The edges of TF that the node publishes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from tf2_msgs.msg import TFMessage

from moonseg3r_ros.conversions.poses import make_header, make_transform
from moonseg3r_ros.conversions.times import SECOND, make_time, read_time
from moonseg3r_ros.frames.robot_tree import strip_slash

MAX_PUBLISHED = 2000  # edges that are known again: 60 s of corrections, and more than 10 s beside a camera's own edge
TIME_JUMP_NS = SECOND

Identity = tuple[str, str, int, tuple[float, ...]]


class Edge(NamedTuple):
    """An edge of TF: parent_from_child (4, 4)."""

    parent: str
    child: str
    pose: np.ndarray


class TransformPublisher:
    """Publishes edges through `send`, and knows them again when they come back on /tf.

    A correction (map -> odom) is published again and again until the next one, by `repeat`. `is_free` is asked before
    each edge whether no other node publishes that of the child.
    """

    def __init__(self, send: Callable[[TFMessage], object]) -> None:
        self._send = send
        self.is_free: Callable[[str], bool] = lambda child: True
        self._corrections: Sequence[Edge] = ()
        self._published: dict[Identity, None] = {}  # the oldest first
        self._lock = Lock()  # corrections and the camera's own edge come from two threads
        self._last = -math.inf  # stamp of the last corrections, ns

    def has_published(self) -> bool:
        """True once an edge was published."""
        return bool(self._published)

    def publish(self, edge: Edge, stamp_ns: int) -> None:
        """Publish an edge once, unless another node does."""
        if not self.is_free(edge.child):
            return
        transform = make_transform(make_header(make_time(stamp_ns), edge.parent), edge.child, edge.pose)
        with self._lock:
            self._published[_identify(transform)] = None
            if len(self._published) > MAX_PUBLISHED:
                del self._published[next(iter(self._published))]
        self._send(TFMessage(transforms=[transform]))

    def set_corrections(self, edges: Sequence[Edge]) -> None:
        """Set what `repeat` publishes; it may be called from another thread."""
        self._corrections = tuple(edges)

    def repeat(self, stamp_ns: int) -> None:
        """Publish the corrections, unless that stamp was published."""
        if self._last - TIME_JUMP_NS < stamp_ns <= self._last:
            return
        for edge in self._corrections:
            self.publish(edge, stamp_ns)
            self._last = stamp_ns

    def is_own(self, transform: Any) -> bool:
        """True for a stamped transform that was published here."""
        return _identify(transform) in self._published


def _identify(transform: Any) -> Identity:
    """Identify a stamped transform by its frames, its stamp and its numbers."""
    header, p, q = transform.header, transform.transform.translation, transform.transform.rotation
    frames = strip_slash(header.frame_id), strip_slash(transform.child_frame_id)
    return *frames, read_time(header.stamp), (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
