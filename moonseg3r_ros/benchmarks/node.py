"""The node with a line in the file $MOONSEG3R_BENCH_LOG for every frame and map."""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any

import moonseg3r_ros.node
from moonseg3r_core import FrameResult, InstanceMap
from moonseg3r_ros.diagnostics.frame_statistics import Ledger
from moonseg3r_ros.main import main
from moonseg3r_ros.outputs import Outputs

LOG = "MOONSEG3R_BENCH_LOG"


class LoggedStatistics(Ledger):
    """Logs milliseconds: of each step, of the work beyond it, of each map, and of each map until its cloud was out."""

    cloud = 0.0

    def took(self, result: FrameResult, step: float, beyond: float) -> None:
        """A frame is out."""
        super().took(result, step, beyond)
        _write(stamp=result.index, step=1e3 * step, beyond=1e3 * beyond)

    def mapped(self, scene: InstanceMap, instances: int, seconds: float = 0.0) -> None:
        """A map is out."""
        super().mapped(scene, instances, seconds)
        _write(points=len(scene), map=1e3 * seconds, cloud=1e3 * (seconds - perf_counter() + self.cloud))


class TimedOutputs(Outputs):
    """Records when a cloud of the map was published."""

    def publish(self, name: str, message: Any) -> None:
        """Publish on a topic of the table."""
        super().publish(name, message)
        if name == "~/map":
            LoggedStatistics.cloud = perf_counter()


def _write(**row: Any) -> None:
    with open(os.environ[LOG], "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    moonseg3r_ros.node.Ledger, moonseg3r_ros.node.Outputs = LoggedStatistics, TimedOutputs  # type: ignore[misc]
    sys.exit(main())
