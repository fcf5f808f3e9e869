"""Rate and median value of events in the last seconds, in bounded memory, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from statistics import median
from time import monotonic

MAX_EVENTS = 512


class RateMeter:
    """Keeps the events of the last `seconds`, at most MAX_EVENTS, each with a value."""

    def __init__(self, seconds: float = 10.0, now: Callable[[], float] = monotonic) -> None:
        self.seconds, self._now = seconds, now
        self._lock = threading.Lock()
        self._events: deque[tuple[float, float]] = deque(maxlen=MAX_EVENTS)
        self._last: float | None = None

    def add(self, value: float = 0.0) -> None:
        """Add an event that happens now."""
        with self._lock:
            self._last = self._now()
            self._events.append((self._last, value))

    @property
    def rate(self) -> float:
        """Events per second, 0 for fewer than two; it falls as soon as they stop."""
        events = self._read_recent()
        return (len(events) - 1) / max(self._now() - events[0][0], 1e-9) if len(events) > 1 else 0.0

    @property
    def median(self) -> float | None:
        """The median value; None without events."""
        values = [value for _, value in self._read_recent()]
        return median(values) if values else None

    @property
    def silence(self) -> float | None:
        """Seconds since the last event, however long ago; None before the first."""
        last = self._last
        return None if last is None else self._now() - last

    def _read_recent(self) -> list[tuple[float, float]]:
        with self._lock:
            oldest = self._now() - self.seconds
            while self._events and self._events[0][0] < oldest:
                self._events.popleft()
            return list(self._events)
