"""Pair depth images with colour images by stamp, in bounded memory."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Any

from moonseg3r_core.sources.transforms import TIME_JUMP_S

DEFAULT_PERIOD_S = 1 / 30  # between images, until two have come
MAX_AHEAD_S = 1.0  # of a depth image
MAX_DEPTHS = 64  # depth images held at most


class DepthPairing:
    """Pairs each colour image with the depth image nearest in time, at most half a period away."""

    def __init__(self) -> None:
        self.depths: deque[tuple[float, Any]] = deque(maxlen=MAX_DEPTHS)
        self.intervals: deque[float] = deque(maxlen=31)
        self.newest: float | None = None

    def add_image_stamp(self, stamp: float) -> None:
        """Learn the frame rate from the stamp of a colour image."""
        if self.newest is not None and stamp > self.newest:
            self.intervals.append(stamp - self.newest)
        self.newest = stamp

    def add(self, stamp: float, message: Any) -> None:
        """Add a depth message."""
        self.depths.append((stamp, message))

    @property
    def half_frame(self) -> float:
        """Half the median time between colour images, in seconds."""
        return (median(self.intervals) if self.intervals else DEFAULT_PERIOD_S) / 2

    def has_exact(self, stamp: float) -> bool:
        """True when a depth image has exactly this stamp."""
        return any(depth == stamp for depth, _ in self.depths)

    def is_final(self, stamp: float) -> bool:
        """True when no later depth can be nearer: an exact match, or a later one at a known frame rate.

        A depth that is more than MAX_AHEAD_S later has an odd stamp.
        """
        is_later = any(stamp < depth <= stamp + MAX_AHEAD_S for depth, _ in self.depths)
        return self.has_exact(stamp) or (bool(self.intervals) and is_later)

    def find_nearest(self, stamp: float) -> Any | None:
        """Return the depth message nearest to a stamp, None when none is within half a period."""
        best = min(self.depths, key=lambda depth: abs(depth[0] - stamp), default=None)
        return best[1] if best and abs(best[0] - stamp) <= self.half_frame + 1e-6 else None

    def forget_before(self, stamp: float) -> None:
        """Drop depths that are too old for any image of this stamp or later."""
        low, high = stamp - TIME_JUMP_S, stamp - 2 * self.half_frame  # older than low: from after a jump back
        self.depths = deque([d for d in self.depths if not low <= d[0] < high], maxlen=MAX_DEPTHS)

    def explain_missing(self, stamp: float) -> str:
        """Say why `find_nearest` returned None."""
        if not self.depths:
            return "no depth image has come"
        gap = min(abs(depth - stamp) for depth, _ in self.depths)
        return f"no depth within {self.half_frame:.3f} s of the image at {stamp:.3f} s, the nearest is {gap:.3f} s away"

    def rewind(self) -> None:
        """Forget the frame rate after time went back, and the depths from before the jump: up to the latest one."""
        stamps = [stamp for stamp, _ in self.depths]
        for _ in range(stamps.index(max(stamps)) + 1 if stamps else 0):
            self.depths.popleft()
        self.intervals.clear()
        self.newest = None
