"""Warnings of the node: logged at once, then at most every ten seconds with a count, and kept for diagnostics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from moonseg3r_ros.diagnostics.rate_meter import RateMeter

PAUSE_S = 10.0  # between two lines on one topic
MAX_TOPICS = 100


class ThrottledWarnings:
    """Logs a line per topic through `log`, from any thread."""

    def __init__(self, log: Callable[[str], object], now: Callable[[], float] = monotonic) -> None:
        self._log, self._now = log, now
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}
        self._recent: dict[str, tuple[float, str]] = {}
        self._meters: dict[str, RateMeter] = {}

    def warn(self, topic: str, text: str) -> None:
        """Log a warning, unless there was one on its topic within the last ten seconds."""
        with self._lock:
            now = self._now()
            self._recent.pop(topic, None)
            self._recent[topic] = now, text
            self._meters.setdefault(topic, RateMeter(PAUSE_S, self._now)).add()
            if now - self._logged.get(topic, -PAUSE_S) < PAUSE_S:
                self._suppressed[topic] = self._suppressed.get(topic, 0) + 1
                return
            times = self._suppressed.pop(topic, 0)
            self._logged[topic] = now
            self._drop_oldest()
        self._log(f"{text} ({times} more since the last time)" if times else text)

    def list_recent(self, seconds: float = PAUSE_S) -> dict[str, str]:
        """Return topic -> text of the last `seconds`, the newest last."""
        with self._lock:
            return {topic: text for topic, (when, text) in self._recent.items() if self._now() - when <= seconds}

    def get_rate(self, topic: str) -> float:
        """Return the warnings per second on a topic in the last ten seconds; 0 for fewer than two."""
        meter = self._meters.get(topic)
        return meter.rate if meter else 0.0

    def _drop_oldest(self) -> None:
        while len(self._recent) > MAX_TOPICS:
            oldest = next(iter(self._recent))
            for table in (self._recent, self._logged, self._suppressed, self._meters):
                table.pop(oldest, None)
