"""What a benchmark measures with: the node and replays as processes, and an observer in this one."""

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
EXACT = {"reconstruction.kind": "rgbd"}  # what is measured is the porch, not a net
PATIENCE = 60.0  # seconds


class Rig:
    """The active node with parameters `settings`, and a bag to replay into it; a context that ends what it started."""

    def __init__(self, bag: str, **settings: Any) -> None:
        self.bag = bag
        self._said = [{"state": ""}]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._scratch = tempfile.TemporaryDirectory()
        self._printed = Path(self._scratch.name) / "printed"
        os.environ[LOG] = f"{self._scratch.name}/log"
        rclpy.init()
        self.observer = rclpy.create_node("bench")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.observer)
        self.observer.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        remaps = [word for name, topic in TOPICS.items() for word in ("-r", f"{name}:={topic}")]
        values = [word for name, value in (EXACT | settings).items() for word in ("-p", f"{name}:={value}")]
        self.node = self._start("bench_node", "--ros-args", *remaps, *values)

    def __enter__(self) -> Rig:
        self.until(lambda: self.values["state"] == "active", "the node is active")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        rclpy.try_shutdown()
        self._scratch.cleanup()

    @property
    def values(self) -> dict[str, str]:
        """The newest of /diagnostics."""
        return self._said[-1]

    def count(self, what: str) -> int:
        """How many frames were received, processed, dropped or rejected."""
        return int(self.values[f"frames {what}"])

    def log(self) -> list[dict[str, float]]:
        """What the node wrote down of each frame and map."""
        return [json.loads(line) for line in Path(os.environ[LOG]).read_text(encoding="utf-8").splitlines()]

    def replay(self, rate: float, *options: str) -> subprocess.Popen[bytes]:
        """Start to play the bag."""
        return self._start("replay", self.bag, "--rate", str(rate), "--wait-for", NODE, *options)

    def play(self, rate: float) -> None:
        """Play the bag once, until what came of it is through the node."""
        replay = self.replay(rate)
        self.until(lambda: replay.poll() is not None, "the replay ends", 600.0)
        told = len(self._said)
        self.until(lambda: len(self._said) > told + 1 and self._is_through(), "the last frame is through")

    def busy(self, seconds: float) -> float:
        """Percent of a core that the node takes over so many seconds."""
        before, end = _ticks(self.node.pid), time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, "the time is over", 2 * seconds)
        return 100 * (_ticks(self.node.pid) - before) / os.sysconf("SC_CLK_TCK") / seconds

    def client(self, kind: Any, name: str) -> Callable[[Any], float]:
        """A function that calls a service of the node and returns the milliseconds until its answer."""
        client = self.observer.create_client(kind, f"{NODE}/{name}")
        client.wait_for_service(PATIENCE)

        def call(request: Any) -> float:
            began = time.perf_counter()
            self._executor.spin_until_future_complete(client.call_async(request), PATIENCE)
            return 1e3 * (time.perf_counter() - began)

        return call

    def until(self, true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Serve the observer until `true()`. Raises MoonSeg3RError after so many seconds, or when the node ended."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end or self.node.poll() is not None:
                said = self._printed.read_text(encoding="utf-8").splitlines()
                raise MoonSeg3RError(
                    f"waited at most {seconds:g} s in vain until {what}: {said[-1] if said else 'no word'}"
                )
            self._executor.spin_once(0.02)

    def _is_through(self) -> bool:
        return self.count("received") == sum(self.count(end) for end in ("processed", "dropped", "rejected"))

    def _diagnosed(self, message: DiagnosticArray) -> None:
        self._said.append({pair.key: pair.value for pair in message.status[0].values})

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", f"moonseg3r_ros.{module}", *words]
        with self._printed.open("a", encoding="utf-8") as printed:
            self._processes.append(subprocess.Popen(program, stdout=printed, stderr=printed))
        return self._processes[-1]


def _ticks(pid: int) -> int:
    """CPU time of a process, its own and the system's for it (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
