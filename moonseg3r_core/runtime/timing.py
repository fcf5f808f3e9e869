"""Wall-clock time of each stage, measured without the stages knowing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any


class StageTimer:
    """Adds up the milliseconds of each wrapped object's calls until `restart`.

    GPU work is queued, so a stage is charged for what it waits for, not for what it starts.
    """

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}

    def wrap(self, stages: Mapping[str, Any]) -> dict[str, Any]:
        """Wrap each object in a proxy that behaves like it and is timed under its name."""
        return {name: _Timed(stage, name, self) for name, stage in stages.items()}

    def restart(self) -> dict[str, float]:
        """Start at zero and return the milliseconds per name since the last restart."""
        ms, self._ms = self._ms, {}
        return ms

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the result of `function` and add its time to `name`."""
        start = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self._ms[name] = self._ms.get(name, 0.0) + 1e3 * (perf_counter() - start)


class _Timed:
    def __init__(self, stage: Any, name: str, timer: StageTimer) -> None:
        self._stage, self._name, self._timer = stage, name, timer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._timer.call(self._name, self._stage, *args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        if "_stage" not in vars(self):  # while it is copied it has none yet
            raise AttributeError(attribute)
        value = getattr(self._stage, attribute)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._timer.call(self._name, value, *args, **kwargs)
