"""SIGINT (Ctrl-C) and SIGTERM in a command, a training and a ROS program. The standard library alone, to load first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_requested = threading.Event()


@contextmanager
def defer_interrupts(once: bool = False) -> Iterator[Sequence[int]]:
    """Raise KeyboardInterrupt for a signal inside the block at its end, so that no frame and no file stays half done.

    Yields the signals that came so far. once: a second signal raises at once. Does nothing outside the main thread.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if once:
            _set_handlers(signal.default_int_handler)

    with _handle_signals(note, *_SIGNALS):
        yield received
    if received:
        raise KeyboardInterrupt


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Let processes that start inside the block ignore Ctrl-C: their parent ends them."""
    with _handle_signals(signal.SIG_IGN, signal.SIGINT):
        yield


def raise_on_sigterm() -> None:
    """Raise KeyboardInterrupt for SIGTERM, as for Ctrl-C: a service manager sends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def kill_on_sigterm() -> None:
    """Let SIGTERM end the process without Python, which runs no handler inside foreign code (an open window)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_signals() -> None:
    """Ignore both signals while Python ends."""
    for number in _SIGNALS * 2:  # twice each: a signal that came just before is raised here
        with suppress(KeyboardInterrupt):
            signal.signal(number, signal.SIG_IGN)


def exit_on_signals() -> None:
    """End the process at once with status 0 for either signal, until `interrupt_once`.

    For the import of modules: nothing needs cleaning up yet, and imported code may swallow a KeyboardInterrupt.
    """
    _set_handlers(lambda number, frame: os._exit(0))


def interrupt_once() -> None:
    """Raise KeyboardInterrupt for the first signal and ignore later ones: Ctrl-C under `ros2 launch` sends SIGINT twice.

    For `rclpy.init(signal_handler_options=SignalHandlerOptions.NO)`: rclpy's own handlers invalidate the context, which
    cleaning up needs.
    """
    _set_handlers(_interrupt)


def is_end_requested() -> bool:
    """True since a signal after `interrupt_once`, also if a finalizer or foreign code lost its KeyboardInterrupt."""
    return _requested.is_set()


def exit_after(seconds: float) -> None:
    """End the process with status 0 after `seconds`: threads at work cannot be interrupted."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _set_handlers(signal.SIG_IGN)
    _requested.set()  # no thread waits for this event, so its lock is free when a signal comes
    raise KeyboardInterrupt


def _set_handlers(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


@contextmanager
def _handle_signals(
    handler: Callable[[int, FrameType | None], Any] | signal.Handlers, *numbers: signal.Signals
) -> Iterator[None]:
    """Handle signals inside the block. Does nothing outside the main thread, which alone may set handlers."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers} if main else {}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
