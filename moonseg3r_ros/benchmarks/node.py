"""The node with a line in the file $MOONSEG3R_BENCH_LOG for every frame and map."""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any

import moonseg3r_ros.node
from moonseg3r_core import FrameResult, InstanceMap
from moonseg3r_ros.diagnostics.frame_statistics import FrameStatistics
from moonseg3r_ros.main import main
from moonseg3r_ros.outputs import LocalizedFrame, Outputs

LOG = "MOONSEG3R_BENCH_LOG"


class LoggedStatistics(FrameStatistics):
    """Logs milliseconds: of each step, of the work beyond it, of each map, and of each map until its cloud was out."""

    stamp_ns = 0
    cloud = 0.0

    def record_processed(self, result: FrameResult, step: float, latency: float) -> None:
        """Log a frame."""
        super().record_processed(result, step, latency)
        _write(stamp=self.stamp_ns, step=1e3 * step, beyond=1e3 * latency)

    def record_map(self, scene: InstanceMap, instances: int, seconds: float = 0.0) -> None:
        """Log a map."""
        super().record_map(scene, instances, seconds)
        _write(points=len(scene), map=1e3 * seconds, cloud=1e3 * (seconds - perf_counter() + self.cloud))


class TimedOutputs(Outputs):
    """Records the stamp of each frame, and when a cloud of the map was published."""

    def publish_frame(self, localized: LocalizedFrame) -> None:
        """Publish what belongs to one frame."""
        super().publish_frame(localized)
        LoggedStatistics.stamp_ns = localized.stamp_ns

    def publish(self, name: str, message: Any) -> None:
        """Publish on a topic of the table."""
        super().publish(name, message)
        if name == "~/map":
            LoggedStatistics.cloud = perf_counter()


def _write(**row: Any) -> None:
    with open(os.environ[LOG], "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    moonseg3r_ros.node.FrameStatistics = LoggedStatistics  # type: ignore[misc]
    moonseg3r_ros.node.Outputs = TimedOutputs  # type: ignore[misc]
    sys.exit(main())
