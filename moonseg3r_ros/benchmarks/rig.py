"""The set-up of a benchmark: the node and replays as processes, and an observer in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from moonseg3r_core import MoonSeg3RError
from moonseg3r_ros.benchmarks.node import LOG

NODE = "/moonseg3r"
TOPICS = {
    "image": "/camera/color/image_raw", "camera_info": "/camera/color/camera_info", "depth": "/camera/depth/image_raw",
}  # fmt: skip
DEFAULTS = {"reconstruction.kind": "rgbd"}  # the node is measured, not a net
WAIT_TIMEOUT_S = 60.0


class Rig:
    """The active node with parameters `settings`, and a bag to replay. A context that ends its processes."""

    def __init__(self, bag: str, **settings: Any) -> None:
        self.bag = bag
        self._diagnostics = [{"state": ""}]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._scratch = tempfile.TemporaryDirectory()
        self._log = Path(self._scratch.name) / "printed"
        os.environ[LOG] = f"{self._scratch.name}/log"
        rclpy.init()
        self.observer = rclpy.create_node("bench")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.observer)
        self.observer.create_subscription(DiagnosticArray, "/diagnostics", self._read_diagnostics, 10)
        remaps = [word for name, topic in TOPICS.items() for word in ("-r", f"{name}:={topic}")]
        values = [word for name, value in (DEFAULTS | settings).items() for word in ("-p", f"{name}:={value}")]
        self.node = self._start("benchmarks.node", "--ros-args", *remaps, *values)

    def __enter__(self) -> Rig:
        self.wait_until(lambda: self.values["state"] == "active", "the node is active")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
            process.wait(WAIT_TIMEOUT_S)
        rclpy.try_shutdown()
        self._scratch.cleanup()

    @property
    def values(self) -> dict[str, str]:
        """The newest values on /diagnostics."""
        return self._diagnostics[-1]

    def count(self, what: str) -> int:
        """Return how many frames were received, processed, dropped or rejected."""
        return int(self.values[f"frames {what}"])

    def read_log(self) -> list[dict[str, float]]:
        """Read what the node logged of each frame and map."""
        return [json.loads(line) for line in Path(os.environ[LOG]).read_text(encoding="utf-8").splitlines()]

    def replay(self, rate: float, *options: str) -> subprocess.Popen[bytes]:
        """Start a replay of the bag."""
        return self._start("replay.command", self.bag, "--rate", str(rate), "--wait-for", NODE, *options)

    def play(self, rate: float) -> None:
        """Play the bag once, and wait until the node has dealt with all frames."""
        replay = self.replay(rate)
        self.wait_until(lambda: replay.poll() is not None, "the replay ends", 600.0)
        count = len(self._diagnostics)
        self.wait_until(
            lambda: len(self._diagnostics) > count + 1 and self._has_processed_all(), "the last frame is through"
        )

    def measure_cpu(self, seconds: float) -> float:
        """Measure the node's CPU over some seconds, in percent of a core."""
        before, end = _read_cpu_ticks(self.node.pid), time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() > end, "the time is over", 2 * seconds)
        return 100 * (_read_cpu_ticks(self.node.pid) - before) / os.sysconf("SC_CLK_TCK") / seconds

    def make_client(self, kind: Any, name: str) -> Callable[[Any], float]:
        """Make a function that calls a service of the node and returns the milliseconds until the answer."""
        client = self.observer.create_client(kind, f"{NODE}/{name}")
        client.wait_for_service(WAIT_TIMEOUT_S)

        def call(request: Any) -> float:
            began = time.perf_counter()
            self._executor.spin_until_future_complete(client.call_async(request), WAIT_TIMEOUT_S)
            return 1e3 * (time.perf_counter() - began)

        return call

    def wait_until(self, is_true: Callable[[], object], what: str, seconds: float = WAIT_TIMEOUT_S) -> None:
        """Spin the observer until `is_true()`. Raises MoonSeg3RError after so many seconds, or when the node ended."""
        end = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > end or self.node.poll() is not None:
                lines = self._log.read_text(encoding="utf-8").splitlines()
                raise MoonSeg3RError(
                    f"waited at most {seconds:g} s in vain until {what}: {lines[-1] if lines else 'no output'}"
                )
            self._executor.spin_once(0.02)

    def _has_processed_all(self) -> bool:
        return self.count("received") == sum(self.count(end) for end in ("processed", "dropped", "rejected"))

    def _read_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics.append({pair.key: pair.value for pair in message.status[0].values})

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", f"moonseg3r_ros.{module}", *words]
        with self._log.open("a", encoding="utf-8") as printed:
            self._processes.append(subprocess.Popen(program, stdout=printed, stderr=printed))
        return self._processes[-1]


def _read_cpu_ticks(pid: int) -> int:
    """Read the CPU time of a process, user and system, in clock ticks (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
