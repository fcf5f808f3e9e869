"""The clock of a replay and the pace at which messages go out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from moonseg3r_core import Message
from moonseg3r_ros.replay.topics import CLOCK

SECOND = 10**9
TICK = 0.01  # seconds of wall time between two messages on /clock


class Player:
    """Publishes messages at their time: a message is due at a fixed moment after the start, a late one goes at once."""

    def __init__(self, publishers: Mapping[str, Publisher], clock: BagClock | NoClock, rate: float) -> None:
        self.publishers, self.clock, self.rate = publishers, clock, rate
        self.count = 0
        self.took = 0.0  # seconds
        self.latest = 0.0  # seconds

    def play(self, messages: Iterable[Message], start: int, end: float) -> bool:
        """All messages up to `end` once; bag times in nanoseconds. False when there was none."""
        self.clock.restart(start)
        began, count = time.monotonic(), self.count
        for message in messages:
            if message.nanoseconds > end:
                break
            due = began + (message.nanoseconds - start) / SECOND / self.rate
            self._pass_time(due, message.nanoseconds)
            self.publishers[message.topic].publish(message.raw)
            self.latest = max(self.latest, time.monotonic() - due)
            self.count += 1
        self.took += time.monotonic() - began
        return self.count > count

    def report(self) -> str:
        """How much went out, and how late at worst."""
        late = f"the latest {self.latest * 1e3:.1f} ms after its time"
        return f"published {self.count} messages in {self.took:.1f} s, {late}"

    def _pass_time(self, due: float, stamp: int) -> None:
        """Sleep until `due`, when the bag's time is `stamp`, while the clock ticks."""
        while (left := due - time.monotonic()) > 0:
            self.clock.tell(stamp - round(left * self.rate * SECOND))
            time.sleep(min(left, TICK))
        self.clock.tell(stamp)


class BagClock:
    """/clock, which goes forward only; reliable, so that subscribers of either kind take it."""

    def __init__(self, node: Node) -> None:
        self.publisher = node.create_publisher(Clock, CLOCK, QoSProfile(depth=10))
        self.now = 0

    def restart(self, stamp: int) -> None:
        """Begin at a stamp (ns)."""
        self.now = stamp - 1
        self.tell(stamp)

    def tell(self, stamp: int) -> None:
        """Publish a stamp (ns), unless it is not later than the last."""
        if stamp > self.now:
            self.now = stamp
            self.publisher.publish(Clock(clock=Time(sec=stamp // SECOND, nanosec=stamp % SECOND)))


class NoClock:
    """In the place of BagClock where time is another's."""

    def restart(self, stamp: int) -> None:
        """Nothing to begin."""

    def tell(self, stamp: int) -> None:
        """Nothing to tell."""
