"""How a program ends: SIGINT and SIGTERM come as one KeyboardInterrupt, and the ROS context stays for cleaning up."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from types import FrameType

from rclpy.executors import Executor, ExternalShutdownException
from rclpy.logging import get_logger

PIECE = 0.5  # seconds
ENDINGS = (signal.SIGINT, signal.SIGTERM)


def interrupt_once() -> None:
    """Take both signals. What follows the first is ignored: Ctrl-C under `ros2 launch` sends SIGINT twice.

    For `rclpy.init(signal_handler_options=SignalHandlerOptions.NO)`: rclpy's own handlers invalidate the context first.
    """
    for number in ENDINGS:
        signal.signal(number, _interrupt)


def spin(executor: Executor) -> None:
    """Serve callbacks until a signal comes or the context ends. An error in one is logged, and the others go on.

    A thread does it: the wait for callbacks is no Python code, and a signal would not be heard until it is over.
    """
    ending, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=_serve, args=(executor, ending, ended), daemon=True)
    thread.start()
    try:
        # Not join: up to Python 3.12 one that is interrupted takes the thread for dead. In pieces: a signal that reached
        # another thread is heard between them.
        while not ended.wait(PIECE):
            pass
    except KeyboardInterrupt:
        ending.set()
        executor.create_task(bool)  # something to do: waking alone, the executor would go on waiting
    thread.join()


def end_within(seconds: float) -> None:
    """Let the process end with status 0 after `seconds` though threads are at work: they cannot be interrupted."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _serve(executor: Executor, ending: threading.Event, ended: threading.Event) -> None:
    while executor.context.ok() and not ending.is_set():
        _serve_once(executor)
    ended.set()


def _serve_once(executor: Executor) -> None:
    try:
        executor.spin_once()
    except ExternalShutdownException:
        pass
    except Exception as error:  # a callback's own; the executor may raise one error several times over
        if not getattr(error, "_said", False):
            get_logger("executor").error(traceback.format_exc())
            error._said = True  # type: ignore[attr-defined]
        error.__traceback__ = None


def _interrupt(number: int, frame: FrameType | None) -> None:
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
