"""One thread for all work on frames. It takes the newest frame only, and callers never wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
THREAD = "moonseg3r worker"


def is_any_at_work() -> bool:
    """True while a worker's thread of this process lives; Python must not end then, foreign code in it would abort."""
    return any(thread.name == THREAD for thread in threading.enumerate())


class Worker(Generic[T]):
    """Calls `process(item)` for the newest item and runs jobs between items, in order.

    `on_idle()` follows each; it returns in how many seconds to call it again (None: after the next item). An error of
    `process` and `on_idle` goes to `report`, an error of a job to its future.
    """

    def __init__(
        self, process: Callable[[T], None], on_idle: Callable[[], float | None], report: Callable[[Exception], None]
    ) -> None:
        self._process, self._on_idle, self._report = process, on_idle, report
        self._changed = threading.Condition()
        self._item: T | None = None
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """Put the newest item in; return True when it replaced one that was not processed."""
        with self._changed:
            dropped, self._item = self._item is not None, item
            self._changed.notify()
        return dropped

    def clear(self) -> None:
        """Drop the waiting item, if any."""
        with self._changed:
            self._item = None

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job on the worker's thread before the next item; it is cancelled after `stop`."""
        future: Future[Any] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._changed.notify()
        return future

    def stop(self, seconds: float) -> bool:
        """Stop after the current item or job; return False when it takes longer than `seconds`."""
        with self._changed:
            self._stopping, self._item = True, None
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait: float | None = None
        while (task := self._take_task(wait)) is not None:
            self._run_guarded(task)
            wait = self._run_guarded(self._on_idle)
        for _, future in self._jobs:
            future.cancel()

    def _take_task(self, seconds: float | None) -> Callable[[], Any] | None:
        """Return a job, else the newest item's task, else after `seconds` an empty task; None after `stop`."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._jobs or self._item is not None, seconds)
            if self._stopping:
                return None
            if self._jobs:
                return partial(_run_job, *self._jobs.popleft())
            item, self._item = self._item, None
            return partial(self._process, item) if item is not None else bool

    def _run_guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return self._report(error)


def _run_job(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except Exception as error:
        future.set_exception(error)
