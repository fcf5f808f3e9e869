"""How often something happens, and how large it is: over the last seconds, in bounded memory, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from statistics import median
from time import monotonic

MOST = 512  # events held


class Meter:
    """Events of the last `seconds`, the newest MOST of them, each with a value."""

    def __init__(self, seconds: float = 10.0, now: Callable[[], float] = monotonic) -> None:
        self.seconds, self._now = seconds, now
        self._lock = threading.Lock()
        self._events: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._last: float | None = None

    def add(self, value: float = 0.0) -> None:
        """Something happened now."""
        with self._lock:
            self._last = self._now()
            self._events.append((self._last, value))

    @property
    def rate(self) -> float:
        """Events per second, 0 for fewer than two; it sinks as soon as they stop."""
        events = self._recent()
        return (len(events) - 1) / max(self._now() - events[0][0], 1e-9) if len(events) > 1 else 0.0

    @property
    def median(self) -> float | None:
        """The median value; None without events."""
        values = [value for _, value in self._recent()]
        return median(values) if values else None

    @property
    def silence(self) -> float | None:
        """Seconds since the last event, however long ago; None before the first."""
        last = self._last
        return None if last is None else self._now() - last

    def _recent(self) -> list[tuple[float, float]]:
        with self._lock:
            oldest = self._now() - self.seconds
            while self._events and self._events[0][0] < oldest:
                self._events.popleft()
            return list(self._events)
