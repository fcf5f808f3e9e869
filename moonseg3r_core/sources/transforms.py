"""A bounded buffer of stamped transforms between named frames, like that of tf2, without ROS."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from moonseg3r_core.errors import MoonSeg3RError

TIME_JUMP_S = 0.5  # a stamp older than the newest by more means that time went back
MAX_POST_DATED_S = 2.0  # by which the first correction of odometry may be stamped later than it holds
MAX_BACK = 3  # samples in a row whose stamps went back, from which time did
MAX_SAMPLES = 10_000  # per edge: ten seconds at 1 kHz
MAX_FRAMES = 1000  # edges
MAX_LISTED = 20  # frames in an error message


class TransformError(MoonSeg3RError):
    """A transform is not available: unknown frame, unconnected frames, or a stamp outside the samples."""


def make_pose(translation: Sequence[float], quaternion: Sequence[float]) -> np.ndarray:
    """Make a pose (4, 4) float64 of a translation (3,) and a quaternion x y z w (4,) of any length.

    Raises TransformError for a quaternion of length zero or numbers that are not finite.
    Plain Python numbers are faster than numpy here, and a robot sends thousands of transforms a second.
    """
    p, q = [float(number) for number in translation], [float(number) for number in quaternion]
    length = math.sqrt(sum(number * number for number in q))
    if not (all(math.isfinite(number) for number in p) and 1e-6 < length < math.inf):
        raise TransformError(f"a transform must be finite with a rotation, got {[*p, *q]}")
    x, y, z, w = (number / length for number in q)
    return np.array((
        (x * x - y * y - z * z + w * w, 2 * (x * y - z * w), 2 * (x * z + y * w), p[0]),
        (2 * (x * y + z * w), -x * x + y * y - z * z + w * w, 2 * (y * z - x * w), p[1]),
        (2 * (x * z - y * w), 2 * (y * z + x * w), -x * x - y * y + z * z + w * w, p[2]),
        (0.0, 0.0, 0.0, 1.0),
    ))  # fmt: skip


def interpolate(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Interpolate two poses (4, 4) at `share` in [0, 1]: linear in position, slerp in rotation."""
    turn = Rotation.from_matrix(before[:3, :3].T @ after[:3, :3]).as_rotvec()
    pose = np.eye(4)
    pose[:3, :3] = before[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    pose[:3, 3] = (1 - share) * before[:3, 3] + share * after[:3, 3]
    return pose


def invert(pose: np.ndarray) -> np.ndarray:
    """Invert a rigid pose (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


class Edge:
    """The samples of one edge: ascending stamps and parent_from_child poses."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.stamps: list[float] = []
        self.poses: list[np.ndarray] = []
        self.has_jumped = False  # back in time, before the buffer was told of it
        self._back: list[tuple[float, np.ndarray]] = []  # samples in a row whose stamps went back

    def add(self, stamp: float, pose: np.ndarray, horizon: float) -> None:
        """Insert a sample and drop those older than the newest by more than `horizon` seconds.

        MAX_BACK samples in a row whose stamps went back drop all earlier ones: a bag loops, a simulation restarts. One
        that is so late is left out.
        """
        if self._is_newest_odd(stamp):
            del self.stamps[-1], self.poses[-1]
        follows = bool(self._back) and self._back[-1][0] <= stamp
        if self.stamps and stamp < self.stamps[-1] - (0.0 if follows else TIME_JUMP_S):
            self._back = [*(self._back if follows else ()), (stamp, pose)]
            if len(self._back) >= MAX_BACK:
                self.rewind()
                self.has_jumped = True
            return
        self._back.clear()
        at = bisect.bisect_left(self.stamps, stamp)
        same = at < len(self.stamps) and self.stamps[at] == stamp
        self.stamps[at : at + same] = [stamp]
        self.poses[at : at + same] = [pose]
        oldest = self.stamps[max(len(self.stamps) - 2, 0)] - horizon  # one sample far ahead drops none
        old = max(bisect.bisect_left(self.stamps, oldest), len(self.stamps) - MAX_SAMPLES)
        del self.stamps[:old], self.poses[:old]

    def _is_newest_odd(self, stamp: float) -> bool:
        """True when a sample at this stamp follows the one before the newest, and not the newest."""
        if len(self.stamps) < 2 or self._back:
            return False
        return self.stamps[-2] - TIME_JUMP_S <= stamp < self.stamps[-1] - TIME_JUMP_S

    def rewind(self) -> None:
        """Keep what came after a jump back in time alone."""
        self.stamps, self.poses = [stamp for stamp, _ in self._back], [pose for _, pose in self._back]
        self._back.clear()

    def lookup(self, stamp: float, child: str, hold: bool = False) -> np.ndarray:
        """Return parent_from_child at a stamp; `hold` continues the newest sample, and the oldest for MAX_POST_DATED_S.

        Raises TransformError outside the samples.
        """
        if self.static or (hold and stamp > self.stamps[-1]):
            return self.poses[-1]
        if hold and 0 < self.stamps[0] - stamp <= MAX_POST_DATED_S:
            return self.poses[0]
        at = bisect.bisect_left(self.stamps, stamp)
        if at < len(self.stamps) and self.stamps[at] == stamp:
            return self.poses[at]
        if 0 < at < len(self.stamps):
            before, after = self.stamps[at - 1], self.stamps[at]
            return interpolate(self.poses[at - 1], self.poses[at], (stamp - before) / (after - before))
        end, side = (self.stamps[0], "before the oldest") if at == 0 else (self.stamps[-1], "after the newest")
        raise TransformError(
            f"no transform {self.parent} <- {child} at {stamp:.3f} s: {abs(stamp - end):.3f} s {side} known, {end:.3f} s"
        )


class TransformBuffer:
    """The tree of frames over the last `horizon` seconds. A child has one parent: the latest one holds.

    Above MAX_FRAMES children, those without a sample for the longest time are dropped, static ones last.
    """

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self._edges: dict[str, Edge] = {}  # by child, the latest update last

    def add(self, parent: str, child: str, stamp: float, pose: np.ndarray, static: bool = False) -> None:
        """Add parent_from_child (4, 4) at a stamp in seconds, or for all time when static."""
        parent, child = clean_frame(parent), clean_frame(child)
        if parent == child:
            raise TransformError(f"frame '{child}' cannot be its own parent")
        edge = self._edges.pop(child, None)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = Edge(parent, static)
        self._edges[child] = edge
        edge.add(0.0 if static else stamp, np.asarray(pose, dtype=np.float64), self.horizon)
        if len(self._edges) > MAX_FRAMES:
            moving = (name for name, edge in self._edges.items() if not edge.static)
            del self._edges[next(moving, next(iter(self._edges)))]

    def rewind(self, newest: float) -> None:
        """Forget moving edges from before a jump back in time from `newest`; static edges stay."""
        earliest = newest - TIME_JUMP_S
        for edge in self._edges.values():
            if not edge.static and not edge.has_jumped and edge.stamps[-1] >= earliest:
                edge.rewind()
            edge.has_jumped = False
        self._edges = {child: edge for child, edge in self._edges.items() if edge.stamps}

    def find_parent(self, frame: str) -> str | None:
        """Return the parent of a frame, or None."""
        edge = self._edges.get(clean_frame(frame))
        return edge.parent if edge else None

    def describe_frames(self) -> str:
        """List the known frames in words, for error messages."""
        known = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
        more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
        return (", ".join(known[:MAX_LISTED]) or "none") + more

    def list_ancestors(self, frame: str) -> list[str]:
        """List the frame, its parent, and so on up to the root. Raises TransformError for a ring."""
        chain = [clean_frame(frame)]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise TransformError(f"the frames {' <- '.join([*chain, parent])} form a ring")
            chain.append(parent)
        return chain

    def is_moving(self, frame: str) -> bool:
        """True when a transform between the frame and its root is not static."""
        return any(not self._edges[name].static for name in self.list_ancestors(frame)[:-1])

    def find_correction(self, root: str, frame: str) -> str | None:
        """Find the child of `root` whose edge corrects odometry (REP-105: map -> odom), on the way to `frame`.

        Its name has "odom" in it; it is `frame` itself, or moving edges lead from it to `frame`.
        """
        chain = self.list_ancestors(frame)
        place = chain.index(clean_frame(root)) if clean_frame(root) in chain else 0
        is_odometry = place == 1 or any(not self._edges[name].static for name in chain[: max(place - 1, 0)])
        return chain[place - 1] if is_odometry and "odom" in chain[place - 1] else None

    def compute_age(self, child: str, stamp: float) -> float:
        """Compute how much older than a stamp the newest sample of an edge is, seconds; 0 for a static edge."""
        edge = self._edges[clean_frame(child)]
        return 0.0 if edge.static else max(stamp - edge.stamps[-1], 0.0)

    def lookup(self, target: str, source: str, stamp: float, hold: str | None = None) -> np.ndarray:
        """Return target_from_source (4, 4) float64 at a stamp in seconds, interpolated along the chain.

        The edge of the child `hold` continues its newest sample. Raises TransformError for an unknown frame, unconnected frames, or a stamp outside the samples.
        """
        target, source = clean_frame(target), clean_frame(source)
        for frame in (target, source) if target != source else ():
            if frame not in self._edges and all(edge.parent != frame for edge in self._edges.values()):
                raise TransformError(f"unknown frame '{frame}'; known frames: {self.describe_frames()}")
        up, down = self.list_ancestors(source), self.list_ancestors(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise TransformError(f"frames '{target}' and '{source}' are not connected: roots '{down[-1]}', '{up[-1]}'")
        common_from_target = self._compose_to_ancestor(target, common, stamp, hold)
        return invert(common_from_target) @ self._compose_to_ancestor(source, common, stamp, hold)

    def _compose_to_ancestor(self, frame: str, ancestor: str, stamp: float, hold: str | None) -> np.ndarray:
        pose = np.eye(4)
        while frame != ancestor:
            edge = self._edges[frame]
            pose = edge.lookup(stamp, frame, frame == hold) @ pose
            frame = edge.parent
        return pose


def clean_frame(frame: str) -> str:
    """Return a frame's name as tf2 spells it, without the leading slash of older drivers."""
    return frame.strip().lstrip("/")
