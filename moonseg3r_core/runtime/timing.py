"""How long each room takes, without the rooms or the hall knowing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any


class Stopwatch:
    """Adds up the wall-clock milliseconds of each watched object's calls until the next `lap`.

    On a GPU work is queued: a room is charged for what it waits for, not for what it starts.
    """

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}

    def watch(self, rooms: Mapping[str, Any]) -> dict[str, Any]:
        """Each object under its name, behind a front that behaves as the object does and is timed."""
        return {name: _Timed(room, name, self) for name, room in rooms.items()}

    def lap(self) -> dict[str, float]:
        """Milliseconds per name since the last lap."""
        ms, self._ms = self._ms, {}
        return ms

    def timed(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of `call`, its time added to `name`."""
        start = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            self._ms[name] = self._ms.get(name, 0.0) + 1e3 * (perf_counter() - start)


class _Timed:
    def __init__(self, room: Any, name: str, stopwatch: Stopwatch) -> None:
        self._room, self._name, self._stopwatch = room, name, stopwatch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._stopwatch.timed(self._name, self._room, *args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        if "_room" not in vars(self):  # while it is copied it has none yet
            raise AttributeError(attribute)
        value = getattr(self._room, attribute)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._stopwatch.timed(self._name, value, *args, **kwargs)
