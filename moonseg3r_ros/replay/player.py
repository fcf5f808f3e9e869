"""The player and the clock of a replay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from moonseg3r_core import Message
from moonseg3r_ros.replay.lockstep import Lockstep, NoLockstep
from moonseg3r_ros.replay.topics import CLOCK

SECOND = 10**9
TICK_S = 0.01  # wall time between two messages on /clock


class Player:
    """Publishes each message at a fixed time after the start, and a late one at once. The time of a lockstep's waits is
    added to the start.
    """

    def __init__(
        self,
        publishers: Mapping[str, Publisher],
        clock: BagClock | NoClock,
        rate: float,
        lockstep: Lockstep | NoLockstep,
    ) -> None:
        self.publishers, self.clock, self.rate, self.lockstep = publishers, clock, rate, lockstep
        self.count = 0
        self.duration = 0.0  # seconds
        self.max_delay = 0.0  # seconds

    def play(self, messages: Iterable[Message], start: int, end: float) -> bool:
        """Publish all messages up to `end` once; return False when there was none. Bag times are in nanoseconds."""
        self.clock.restart(start)
        began = start_time = time.monotonic()
        count = self.count
        for message in messages:
            if message.nanoseconds > end:
                break
            due = start_time + (message.nanoseconds - start) / SECOND / self.rate
            self._pass_time(due, message.nanoseconds)
            held = self.lockstep.hold(message)
            start_time += held
            self.publishers[message.topic].publish(message.raw)
            self.max_delay = max(self.max_delay, time.monotonic() - due - held)
            self.count += 1
        self.duration += time.monotonic() - began
        return self.count > count

    def report(self) -> str:
        """Say how many messages went out, and how late at worst."""
        late = f"the latest {self.max_delay * 1e3:.1f} ms after its time"
        return f"published {self.count} messages in {self.duration:.1f} s, {late}"

    def _pass_time(self, due: float, stamp: int) -> None:
        """Sleep until `due`, when the bag's time is `stamp`, and publish the clock meanwhile."""
        while (left := due - time.monotonic()) > 0:
            self.clock.advance(stamp - round(left * self.rate * SECOND))
            time.sleep(min(left, TICK_S))
        self.clock.advance(stamp)


class BagClock:
    """Publishes /clock, which only goes forward; reliable, so that subscribers of either kind receive it."""

    def __init__(self, node: Node) -> None:
        self.publisher = node.create_publisher(Clock, CLOCK, QoSProfile(depth=10))
        self.now = 0

    def restart(self, stamp: int) -> None:
        """Start again at a stamp (ns)."""
        self.now = stamp - 1
        self.advance(stamp)

    def advance(self, stamp: int) -> None:
        """Publish a stamp (ns), unless it is not later than the last."""
        if stamp > self.now:
            self.now = stamp
            self.publisher.publish(Clock(clock=Time(sec=stamp // SECOND, nanosec=stamp % SECOND)))


class NoClock:
    """In the place of BagClock where another program publishes /clock."""

    def restart(self, stamp: int) -> None:
        """Do nothing."""

    def advance(self, stamp: int) -> None:
        """Do nothing."""
