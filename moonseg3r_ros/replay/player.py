"""The player and the clock of a replay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from moonseg3r_core import Message
from moonseg3r_ros.conversions.times import SECOND, make_time
from moonseg3r_ros.replay.lockstep import Lockstep, NoLockstep
from moonseg3r_ros.replay.topics import CLOCK

TICK_S = 0.01  # wall time between two messages on /clock


class Player:
    """Publishes each message at its time, and a late one at once.

    While an image of a lockstep has no answer, the bag goes on in real time at most, and only to the lockstep's limit.
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
        self._now = 0  # the bag's time, ns
        self._last = 0.0  # wall time at that, seconds

    def play(self, messages: Iterable[Message], start: int, end: float) -> bool:
        """Publish all messages up to `end` once; return False when there was none. Bag times are in nanoseconds."""
        self.clock.restart(start)
        self._now, self._last = start, time.monotonic()
        began, count = self._last, self.count
        for message in messages:
            if message.nanoseconds > end:
                break
            self._pass_time(message.nanoseconds)
            if not self.lockstep.hold(message):
                self._publish(message)
            self._release()
            self._measure_delay(message.nanoseconds)
        while self.lockstep.is_waiting:
            self._wait(TICK_S)
            self.clock.advance(self._update_time())
        self.duration += time.monotonic() - began
        return self.count > count

    def report(self) -> str:
        """Say how many messages went out, and how late at worst."""
        late = f"the latest {self.max_delay * 1e3:.1f} ms after its time"
        return f"published {self.count} messages in {self.duration:.1f} s, {late}"

    @property
    def _pace(self) -> float:
        """Seconds of the bag in a second."""
        return min(self.rate, 1.0) if self.lockstep.is_waiting else self.rate

    def _pass_time(self, stamp: int) -> None:
        """Wait until the bag's time is `stamp`; publish the clock and the images that may go meanwhile."""
        while (left := stamp - self._update_time()) > 0:
            self.clock.advance(self._now)
            self._wait(min(left / SECOND / self._pace, TICK_S))
        self.clock.advance(stamp)

    def _update_time(self) -> int:
        """Update and return the bag's time, ns. At the lockstep's limit only the clock goes on, where it must."""
        seconds = time.monotonic() - self._last
        self._last += seconds
        self._now = max(self._now, min(self._now + round(seconds * self._pace * SECOND), self.lockstep.limit))
        if self._now >= self.lockstep.limit and self.lockstep.needs_clock:
            self.clock.skip(round(seconds * SECOND))
        return self._now

    def _wait(self, seconds: float) -> None:
        self.lockstep.wait(seconds)
        self._release()

    def _release(self) -> None:
        """Publish the held image that may go, if any."""
        if message := self.lockstep.release():
            self._publish(message)

    def _publish(self, message: Message) -> None:
        self.publishers[message.topic].publish(message.raw)
        self.count += 1

    def _measure_delay(self, stamp: int) -> None:
        """Measure how late the message of that time was; a lockstep does not make up for it."""
        delay = self._update_time() - stamp
        if self.lockstep.is_waiting:
            self._now = min(self._now, stamp)
        else:
            self.max_delay = max(self.max_delay, delay / SECOND / self.rate)


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
            self.publisher.publish(Clock(clock=make_time(stamp)))

    def skip(self, nanoseconds: int) -> None:
        """Publish a stamp that is later than the last by so much."""
        self.advance(self.now + nanoseconds)


class NoClock:
    """In the place of BagClock where another program publishes /clock."""

    def restart(self, stamp: int) -> None:
        """Do nothing."""

    def advance(self, stamp: int) -> None:
        """Do nothing."""

    def skip(self, nanoseconds: int) -> None:
        """Do nothing."""
