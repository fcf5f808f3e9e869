"""How a program ends: SIGINT and SIGTERM at any moment, with status 0. Needs no ROS, to be there before all else."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM)
_asked = threading.Event()


def leave_at_once() -> None:
    """Until `interrupt_once`: either signal ends the process there and then. For the seconds in which modules are
    imported: nothing is to be cleaned up yet, and code that is interrupted there may swallow what interrupts it.
    """
    for number in ENDINGS:
        signal.signal(number, lambda number, frame: os._exit(0))


def interrupt_once() -> None:
    """From now on, either signal is one KeyboardInterrupt, and the ROS context stays for cleaning up. What follows the
    first is ignored: Ctrl-C under `ros2 launch` sends SIGINT twice.

    For `rclpy.init(signal_handler_options=SignalHandlerOptions.NO)`: rclpy's own handlers invalidate the context first.
    """
    for number in ENDINGS:
        signal.signal(number, _interrupt)


def asked_to_end() -> bool:
    """True since a signal came, also where the KeyboardInterrupt was lost: in a finalizer or in foreign code."""
    return _asked.is_set()


def end_within(seconds: float) -> None:
    """Let the process end with status 0 after `seconds` though threads are at work: they cannot be interrupted."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    _asked.set()  # nobody waits for it, so its lock is never held when a signal comes
    raise KeyboardInterrupt
