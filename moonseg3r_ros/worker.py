"""One thread for all the work, behind a box that holds one item: the newest wins, and nobody who puts one in waits."""

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
    """True while a worker's thread of this process lives. Python must not end then: foreign code in it would abort."""
    return any(thread.name == THREAD for thread in threading.enumerate())


class Worker(Generic[T]):
    """`work(item)` is called for the newest item; jobs are done between items, in order.

    `idle()` is called when there is neither, and tells in how many seconds to call it again (None: not before the next
    item). What `work` and `idle` raise goes to `failed`; what a job raises goes to its future.
    """

    def __init__(
        self, work: Callable[[T], None], idle: Callable[[], float | None], failed: Callable[[Exception], None]
    ) -> None:
        self._work, self._idle, self._failed = work, idle, failed
        self._news = threading.Condition()
        self._box: T | None = None
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """Put the newest item in; True when one that nobody took had to go."""
        with self._news:
            dropped, self._box = self._box is not None, item
            self._news.notify()
        return dropped

    def clear(self) -> None:
        """Forget the item that waits, if one does."""
        with self._news:
            self._box = None

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Do a job on the worker's thread, before the next item. Cancelled when the worker has stopped."""
        future: Future[Any] = Future()
        with self._news:
            if self._stopping:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._news.notify()
        return future

    def stop(self, seconds: float) -> bool:
        """Finish what is being worked on and no more; False when it takes longer than `seconds`."""
        with self._news:
            self._stopping, self._box = True, None
            self._news.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait: float | None = None
        while (task := self._next(wait)) is not None:
            self._guarded(task)
            wait = self._guarded(self._idle)
        for _, future in self._jobs:
            future.cancel()

    def _next(self, seconds: float | None) -> Callable[[], Any] | None:
        """What to do next: a job, else the newest item, else, after `seconds`, nothing. None when it is time to stop."""
        with self._news:
            self._news.wait_for(lambda: self._stopping or self._jobs or self._box is not None, seconds)
            if self._stopping:
                return None
            if self._jobs:
                return partial(_do, *self._jobs.popleft())
            item, self._box = self._box, None
            return partial(self._work, item) if item is not None else bool

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            self._failed(error)
            return None


def _do(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except Exception as error:
        future.set_exception(error)
