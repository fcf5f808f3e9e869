"""What the node has to complain of: said at once, then at most every ten seconds with a count, and kept for diagnostics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from moonseg3r_ros.diagnostics.rate_meter import Meter

PAUSE = 10.0  # seconds between two lines on one topic
MOST = 100  # topics kept


class Voice:
    """Says a line per topic through `warn`; any thread may speak."""

    def __init__(self, warn: Callable[[str], object], now: Callable[[], float] = monotonic) -> None:
        self._warn, self._now = warn, now
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._causes: dict[str, tuple[float, str]] = {}
        self._meters: dict[str, Meter] = {}

    def say(self, topic: str, text: str) -> None:
        """Warn of something, unless its topic was spoken of within the last ten seconds."""
        with self._lock:
            now = self._now()
            self._causes.pop(topic, None)
            self._causes[topic] = now, text
            self._meters.setdefault(topic, Meter(PAUSE, self._now)).add()
            if now - self._said.get(topic, -PAUSE) < PAUSE:
                self._unsaid[topic] = self._unsaid.get(topic, 0) + 1
                return
            times = self._unsaid.pop(topic, 0)
            self._said[topic] = now
            self._forget()
        self._warn(f"{text} ({times} more since the last time)" if times else text)

    def causes(self, seconds: float = PAUSE) -> dict[str, str]:
        """What was spoken of in the last `seconds`, the newest last."""
        with self._lock:
            return {topic: text for topic, (when, text) in self._causes.items() if self._now() - when <= seconds}

    def rate(self, topic: str) -> float:
        """How often a topic was spoken of in the last ten seconds, Hz; 0 for fewer than two times."""
        meter = self._meters.get(topic)
        return meter.rate if meter else 0.0

    def _forget(self) -> None:
        while len(self._causes) > MOST:
            oldest = next(iter(self._causes))
            for kept in (self._causes, self._said, self._unsaid, self._meters):
                kept.pop(oldest, None)
