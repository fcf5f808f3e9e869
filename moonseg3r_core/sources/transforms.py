"""A bounded buffer of stamped transforms between named frames, as tf2 keeps one: numpy only, no ROS."""

from __future__ import annotations

import bisect

import numpy as np
from scipy.spatial.transform import Rotation

from moonseg3r_core.errors import MoonSeg3RError


class TransformError(MoonSeg3RError):
    """A transform that the buffer cannot give: unknown frame, frames not connected, or a stamp outside the samples."""


def pose_from_quaternion(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Translation (3,) and quaternion x y z w (4,) of any length as a pose (4, 4) float64.

    Raises TransformError for a quaternion of no length, or numbers that are not finite.
    """
    numbers = np.concatenate((translation, quaternion)).astype(np.float64)
    if not np.isfinite(numbers).all() or not np.linalg.norm(numbers[3:]) > 1e-6:
        raise TransformError(f"a transform must be finite with a rotation, got {numbers.tolist()}")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(numbers[3:]).as_matrix()
    pose[:3, 3] = numbers[:3]
    return pose


def interpolate(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """The pose (4, 4) at `share` in [0, 1] of the way: linear in position, slerp in rotation."""
    turn = Rotation.from_matrix(before[:3, :3].T @ after[:3, :3]).as_rotvec()
    pose = np.eye(4)
    pose[:3, :3] = before[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    pose[:3, 3] = (1 - share) * before[:3, 3] + share * after[:3, 3]
    return pose


def invert(pose: np.ndarray) -> np.ndarray:
    """The inverse of a rigid pose (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


class Edge:
    """The samples of one child in its parent: stamps in order and parent_from_child poses."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.stamps: list[float] = []
        self.poses: list[np.ndarray] = []

    def add(self, stamp: float, pose: np.ndarray, horizon: float) -> None:
        """Put a sample in its place and drop those older than the newest by more than `horizon` seconds."""
        at = bisect.bisect_left(self.stamps, stamp)
        same = at < len(self.stamps) and self.stamps[at] == stamp
        self.stamps[at : at + same] = [stamp]
        self.poses[at : at + same] = [pose]
        old = bisect.bisect_left(self.stamps, self.stamps[-1] - horizon)
        del self.stamps[:old], self.poses[:old]

    def at(self, stamp: float, child: str) -> np.ndarray:
        """parent_from_child at a stamp. Raises TransformError outside the samples, with how far."""
        if self.static:
            return self.poses[-1]
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
    """The tree of frames over the last `horizon` seconds. A child has one parent; the newest named parent holds."""

    def __init__(self, horizon: float = 10.0) -> None:
        self.horizon = horizon
        self._edges: dict[str, Edge] = {}

    def add(self, parent: str, child: str, stamp: float, pose: np.ndarray, static: bool = False) -> None:
        """Learn parent_from_child (4, 4) at a stamp in seconds, or for all time when static."""
        parent, child = _clean(parent), _clean(child)
        if parent == child:
            raise TransformError(f"frame '{child}' cannot be its own parent")
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = Edge(parent, static)
        edge.add(0.0 if static else stamp, np.asarray(pose, dtype=np.float64), self.horizon)

    def ancestors(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        chain = [_clean(frame)]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise TransformError(f"the frames {' <- '.join([*chain, parent])} form a ring")
            chain.append(parent)
        return chain

    def lookup(self, target: str, source: str, stamp: float) -> np.ndarray:
        """target_from_source (4, 4) float64 at a stamp in seconds, interpolated along the chain.

        Raises TransformError: a frame nobody named, frames not connected, or a stamp outside the samples.
        """
        target, source = _clean(target), _clean(source)
        known = {*self._edges, *(edge.parent for edge in self._edges.values())}
        for frame in (target, source):
            if frame not in known and target != source:
                names = ", ".join(sorted(known)) or "none"
                raise TransformError(f"unknown frame '{frame}'; known frames: {names}")
        up, down = self.ancestors(source), self.ancestors(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise TransformError(f"frames '{target}' and '{source}' are not connected: roots '{down[-1]}', '{up[-1]}'")
        return invert(self._to_ancestor(target, common, stamp)) @ self._to_ancestor(source, common, stamp)

    def _to_ancestor(self, frame: str, ancestor: str, stamp: float) -> np.ndarray:
        pose = np.eye(4)
        while frame != ancestor:
            edge = self._edges[frame]
            pose = edge.at(stamp, frame) @ pose
            frame = edge.parent
        return pose


def _clean(frame: str) -> str:
    return frame.strip().lstrip("/")
