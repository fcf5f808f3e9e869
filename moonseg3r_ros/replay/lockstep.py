"""A replay that waits until the node has dealt with each image, however long that takes."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from moonseg3r_core import Message

POLL_S = 0.02
MIN_TIMEOUT_S = 0.1


class Lockstep:
    """Holds each image back until the node `name` has processed, rejected or dropped the one before.

    NAME/pose has the stamp of an image that was processed. /diagnostics counts those that were rejected or dropped.
    Without an answer in `timeout` seconds a warning is logged once and the replay goes on. Each further timeout in a row
    is half as long.
    """

    def __init__(self, node: Node, image_topic: str, name: str, timeout: float) -> None:
        self._logger, self._image_topic, self._name = node.get_logger(), image_topic, name
        self._timeout = self._next_timeout = timeout
        self._has_warned = self._is_connected = False
        self._left_out = 0  # images that were rejected or dropped
        self._stamp: int | None = None  # of the image without an answer, ns
        self._pose_topic = f"{name}/pose"
        node.create_subscription(PoseStamped, self._pose_topic, self._read_pose, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._read_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def connect(self) -> None:
        """Wait until the node publishes its poses to a subscriber."""
        self._wait_until(lambda: self._is_connected)

    def hold(self, message: Message) -> float:
        """Wait before an image for the answer to the one before; return the seconds."""
        if message.topic != self._image_topic:
            return 0.0
        seconds = self.finish()
        self._stamp = read_stamp(message.raw)
        return seconds

    def finish(self) -> float:
        """Wait for the answer to the last image; return the seconds."""
        began = time.monotonic()
        self._wait_until(lambda: self._stamp is None)
        return time.monotonic() - began

    def _wait_until(self, is_true: Callable[[], bool]) -> None:
        end = time.monotonic() + self._next_timeout
        while not is_true():
            if time.monotonic() > end:
                return self._give_up()
            self._executor.spin_once(POLL_S)
        self._next_timeout = self._timeout

    def _give_up(self) -> None:
        if not self._has_warned:
            self._logger.warning(
                f"{self._name} has not answered an image within {self._timeout:g} s, neither on {self._pose_topic} nor on"
                " /diagnostics; going on. Give a longer --lockstep-timeout where a frame takes longer"
            )
        self._has_warned, self._stamp = True, None
        self._next_timeout = max(self._next_timeout / 2, MIN_TIMEOUT_S)

    def _read_pose(self, message: PoseStamped) -> None:
        stamp = message.header.stamp
        if stamp.sec * 10**9 + stamp.nanosec == self._stamp:
            self._stamp = None

    def _read_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self._name}: output":
                values = {pair.key: pair.value for pair in status.values}
                left_out = int(values["frames rejected"]) + int(values["frames dropped"])
                if left_out > self._left_out and self._is_connected:
                    self._stamp = None
                self._left_out = left_out
                self._is_connected = self._is_connected or self._pose_topic in values["listened to"].split()


class NoLockstep:
    """In the place of Lockstep where each message goes at its time."""

    def connect(self) -> None:
        """Wait for nothing."""

    def hold(self, message: Message) -> float:
        """Wait for nothing."""
        return 0.0

    def finish(self) -> float:
        """Wait for nothing."""
        return 0.0


def read_stamp(raw: bytes) -> int:
    """Read the stamp, ns, of a serialized message that begins with a header (CDR)."""
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return int(sec * 10**9 + nanosec)
