"""Callbacks in a thread: an executor waits outside Python, where the main thread would handle no signal."""

from __future__ import annotations

import threading
import traceback

from rclpy.executors import Executor, ExternalShutdownException
from rclpy.logging import get_logger

from moonseg3r_core import is_end_requested

POLL_S = 0.5


class SpinThread:
    """Runs an executor's callbacks one after the other in a thread, until `end` or the end of the context.

    An error in a callback is logged.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.ended = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def request_end(self) -> None:
        """Let the thread end after the current callback."""
        self._ending.set()
        self.executor.create_task(bool)  # something to do: waking alone, the executor would go on waiting

    def end(self, seconds: float) -> bool:
        """End the thread; return False when a callback still runs after `seconds`."""
        self.request_end()
        return self.ended.wait(seconds)

    def _spin(self) -> None:
        while self.executor.context.ok() and not self._ending.is_set():
            self._spin_once()
        self.ended.set()

    def _spin_once(self) -> None:
        try:
            self.executor.spin_once()
        except ExternalShutdownException:
            pass
        except Exception as error:  # a callback's own; the executor may raise one error several times over
            if not getattr(error, "_is_logged", False):
                get_logger("executor").error(traceback.format_exc())
                error._is_logged = True  # type: ignore[attr-defined]
            error.__traceback__ = None


def spin(executor: Executor, timeout: float) -> bool:
    """Run callbacks until a signal comes or the context ends; return False when one still runs `timeout` s later."""
    thread = SpinThread(executor)
    try:
        while not thread.ended.wait(POLL_S) and not is_end_requested():  # in pieces: a signal may reach another thread
            pass
    except KeyboardInterrupt:
        pass
    return thread.end(timeout)
