"""Callbacks served in a thread: the wait for them is no Python code, and a signal would not be heard until it is over."""

from __future__ import annotations

import threading
import traceback

from rclpy.executors import Executor, ExternalShutdownException
from rclpy.logging import get_logger

from moonseg3r_core import is_end_requested

PIECE = 0.5  # seconds


class Serving:
    """An executor's callbacks, one after the other in a thread of its own, until `end` or until the context ends.

    An error in one is logged, and the others go on.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.ended = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Let it end after the callback at work."""
        self._ending.set()
        self.executor.create_task(bool)  # something to do: waking alone, the executor would go on waiting

    def end(self, seconds: float) -> bool:
        """End it; False when a callback is still at work after so many seconds."""
        self.ask()
        return self.ended.wait(seconds)

    def _serve(self) -> None:
        while self.executor.context.ok() and not self._ending.is_set():
            self._serve_once()
        self.ended.set()

    def _serve_once(self) -> None:
        try:
            self.executor.spin_once()
        except ExternalShutdownException:
            pass
        except Exception as error:  # a callback's own; the executor may raise one error several times over
            if not getattr(error, "_said", False):
                get_logger("executor").error(traceback.format_exc())
                error._said = True  # type: ignore[attr-defined]
            error.__traceback__ = None


def spin(executor: Executor, patience: float) -> bool:
    """Serve callbacks until a signal comes or the context ends; False when one is at work `patience` seconds later."""
    serving = Serving(executor)
    try:
        while not serving.ended.wait(PIECE) and not is_end_requested():  # in pieces: a signal may reach another thread
            pass
    except KeyboardInterrupt:
        pass
    return serving.end(patience)
