"""When a run ends before its last step: its time is over, or somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_ASKING = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Whether a run is over, asked between its steps: `seconds` have gone, or a signal came inside the block.

    A first Ctrl-C, or a SIGTERM, waits for the step to end; a second one does not.
    """

    def __init__(self, seconds: float) -> None:
        self.interrupted = False
        self._end, self._before = time.monotonic() + seconds, dict[int, Any]()

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _ASKING}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def over(self) -> bool:
        """Whether the step that was just made is the last."""
        return self.interrupted or time.monotonic() >= self._end

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        for number in _ASKING:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that start inside the block never hear a Ctrl-C: whoever started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
