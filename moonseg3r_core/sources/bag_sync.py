"""Colour images of a bag wait here until what belongs to them has come: depth, intrinsics, pose. Bounded buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

PERIOD = 1 / 30  # seconds between images until two have been seen
PATIENCE = 1.0  # seconds of recording that an image waits at most
CAPACITY = 64  # images and depth images held at most


@dataclass(frozen=True)
class Waiting:
    """A colour image in the queue: its number, its stamp, when it was recorded, its message."""

    ordinal: int
    stamp: float
    arrived: float
    message: Any


class Synchronizer:
    """Pairs each colour image with the depth image nearest in time, at most half a frame away.

    `complete(waiting)` tells whether the rest of what an image needs is there; an image that has waited
    PATIENCE goes out without it.
    """

    def __init__(self, with_depth: bool, complete: Callable[[Waiting], bool]) -> None:
        self.with_depth = with_depth
        self.complete = complete
        self.waiting: deque[Waiting] = deque()
        self.depths: deque[tuple[float, Any]] = deque(maxlen=CAPACITY)
        self.intervals: deque[float] = deque(maxlen=31)
        self.newest: float | None = None

    def see_color(self, stamp: float) -> None:
        """Learn the frame rate from every colour image, taken or not."""
        if self.newest is not None and stamp > self.newest:
            self.intervals.append(stamp - self.newest)
        self.newest = stamp

    @property
    def half_frame(self) -> float:
        """Half the time between two colour images, seconds."""
        return (median(self.intervals) if self.intervals else PERIOD) / 2

    def nearest_depth(self, stamp: float) -> Any | None:
        """The depth message nearest to a stamp, None when none is within half a frame."""
        best = min(self.depths, key=lambda depth: abs(depth[0] - stamp), default=None)
        return best[1] if best and abs(best[0] - stamp) <= self.half_frame + 1e-6 else None

    def ready(self, now: float) -> Iterator[Waiting]:
        """The images, in order, that are complete or have waited long enough."""
        while self.waiting and (self._overdue(self.waiting[0], now) or self._whole(self.waiting[0])):
            yield self.waiting.popleft()

    def rest(self) -> Iterator[Waiting]:
        """All that wait, when nothing more will come."""
        while self.waiting:
            yield self.waiting.popleft()

    def _overdue(self, first: Waiting, now: float) -> bool:
        return now - first.arrived > PATIENCE or len(self.waiting) > CAPACITY // 2

    def _whole(self, first: Waiting) -> bool:
        return (not self.with_depth or self._has_depth(first.stamp)) and self.complete(first)

    def _has_depth(self, stamp: float) -> bool:
        return bool(self.intervals) and any(depth >= stamp for depth, _ in self.depths)
