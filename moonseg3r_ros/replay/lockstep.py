"""A replay that waits until the node has dealt with each image, however long that takes."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from moonseg3r_core import Message
from moonseg3r_ros.conversions.times import SECOND, read_time

END_OF_TIME = 2**63 - 1  # ns
POLL_S = 0.02
MIN_TIMEOUT_S = 0.1
LOOKAHEAD_S = 0.2  # of the bag, for what belongs to an image and was recorded after the next one
MAX_LOOKAHEAD_S = 1.1  # a node waits 1 s for what belongs to an image


class Lockstep:
    """Holds each image back until the node `name` has processed, rejected or dropped the one before.

    NAME/pose has the stamp of an image that was processed. /diagnostics counts those that were rejected or dropped, and
    those that came with all that belongs to them. Without an answer in `timeout` seconds a warning is logged once and the
    next image goes. Each further timeout in a row is half as long.
    """

    def __init__(self, node: Node, image_topic: str, name: str, timeout: float) -> None:
        self._logger, self._image_topic, self._name = node.get_logger(), image_topic, name
        self._timeout = self._next_timeout = timeout
        self._end = 0.0  # of the wait for an answer
        self._has_warned = self._is_connected = False
        self._left_out = 0  # images, by the node's last count
        self._received = 0  # images that the node had before the replay
        self._answered = 0  # images
        self._held: deque[Message] = deque()
        self._sent: Message | None = None  # the image without an answer
        self._stamp = 0  # of that image, ns
        self._is_incomplete = False  # the node waits for what belongs to that image
        self._pose_topic = f"{name}/pose"
        node.create_subscription(PoseStamped, self._pose_topic, self._read_pose, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._read_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    @property
    def is_waiting(self) -> bool:
        """True while an image has no answer."""
        return self._sent is not None

    @property
    def limit(self) -> int:
        """The bag's time, ns, up to which other messages may go."""
        if self._sent is None:
            return END_OF_TIME
        return self._sent.nanoseconds + round((MAX_LOOKAHEAD_S if self._is_incomplete else LOOKAHEAD_S) * SECOND)

    @property
    def needs_clock(self) -> bool:
        """True while the node waits for what belongs to an image and may never come: it gives up by its clock."""
        return self._is_incomplete

    def connect(self) -> None:
        """Wait until the node publishes its poses to a subscriber, at most the timeout."""
        end = time.monotonic() + self._timeout
        while not self._is_connected:
            if time.monotonic() > end:
                return self._logger.warning(
                    f"{self._name} has not told on /diagnostics within {self._timeout:g} s that it publishes"
                    f" {self._pose_topic} to this replay; starting all the same. Is it active, and is that its whole name?"
                )
            self._executor.spin_once(POLL_S)

    def hold(self, message: Message) -> bool:
        """Hold an image back; return False for other messages. `release` returns it when it may go."""
        if message.topic != self._image_topic:
            return False
        self._held.append(message)
        return True

    def release(self) -> Message | None:
        """Return the next image when it may go."""
        if self._sent is not None and time.monotonic() > self._end:
            self._give_up()
        if self._sent is not None or not self._held:
            return None
        self._sent = self._held.popleft()
        self._stamp = read_stamp(self._sent.raw)
        self._end = time.monotonic() + self._next_timeout
        return self._sent

    def wait(self, seconds: float) -> None:
        """Wait for an answer."""
        self._executor.spin_once(seconds)

    def _give_up(self) -> None:
        if not self._has_warned:
            self._logger.warning(
                f"{self._name} has not answered an image within {self._timeout:g} s, neither on {self._pose_topic} nor on"
                " /diagnostics; going on. Give a longer --lockstep-timeout where a frame takes longer"
            )
        self._has_warned, self._is_incomplete, self._sent = True, False, None
        self._next_timeout = max(self._next_timeout / 2, MIN_TIMEOUT_S)

    def _read_pose(self, message: PoseStamped) -> None:
        self._answered += 1
        if read_time(message.header.stamp) == self._stamp:
            self._end_wait()

    def _read_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self._name}: output":
                self._read_counts({pair.key: pair.value for pair in status.values})

    def _read_counts(self, values: Mapping[str, str]) -> None:
        left_out, received = (
            int(values["frames rejected"]) + int(values["frames dropped"]),
            int(values["frames received"]),
        )
        if not self._is_connected:
            self._is_connected = self._pose_topic in values["listened to"].split()
            self._received, self._left_out = received, left_out
        self._answered += left_out - self._left_out
        if left_out > self._left_out:
            self._end_wait()
        self._left_out = left_out
        self._is_incomplete = self._sent is not None and received - self._received <= self._answered

    def _end_wait(self) -> None:
        self._sent, self._is_incomplete, self._next_timeout = None, False, self._timeout


class NoLockstep:
    """In the place of Lockstep where each message goes at its time."""

    is_waiting = needs_clock = False
    limit = END_OF_TIME

    def connect(self) -> None:
        """Wait for nothing."""

    def hold(self, message: Message) -> bool:
        """Hold nothing."""
        return False

    def release(self) -> Message | None:
        """Return nothing."""
        return None

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def read_stamp(raw: bytes) -> int:
    """Read the stamp, ns, of a serialized message that begins with a header (CDR)."""
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return int(sec * SECOND + nanosec)
