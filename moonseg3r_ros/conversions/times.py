"""Stamps of messages as whole nanoseconds, without torch."""

from __future__ import annotations

from builtin_interfaces.msg import Time

SECOND = 1_000_000_000  # nanoseconds


def make_time(nanoseconds: int) -> Time:
    """Make a stamp of whole nanoseconds, without loss."""
    return Time(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)


def read_time(stamp: Time) -> int:
    """Read a stamp, ns."""
    return stamp.sec * SECOND + stamp.nanosec
