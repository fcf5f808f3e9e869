"""Counts and times of the frames, recorded by the node's threads and read by diagnostics."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from time import monotonic

import torch

from moonseg3r_core import FrameResult, InstanceMap
from moonseg3r_ros.diagnostics.diagnose import FrameCounters, ResourceUsage
from moonseg3r_ros.diagnostics.rate_meter import RateMeter


class FrameStatistics:
    """Counts since the start, and times over the last seconds."""

    def __init__(self) -> None:
        self.rejected = self.points = self.instances = self.stored = 0
        self._received = self._processed = self._dropped = self._held = self._map_jumps = 0
        self._reason = self._held_reason = ""
        self._start: float | None = None
        self._input, self._output, self._drops, self._holds = RateMeter(), RateMeter(), RateMeter(), RateMeter()
        self._step, self._latency, self._map = RateMeter(), RateMeter(), RateMeter(60.0)
        self._stages: dict[str, RateMeter] = {}

    def record_received(self) -> None:
        """Count an image that came with all that belongs to it."""
        self._received += 1
        self._input.add()

    def record_dropped(self) -> None:
        """Count an image that a newer one replaced before it was processed."""
        self._dropped += 1
        self._drops.add()

    def record_start(self) -> None:
        """Note that an image is being processed."""
        self._start = monotonic()

    def record_rejected(self, reason: str) -> None:
        """Count the current image as one that cannot be used."""
        self.rejected += 1
        self._reason, self._start = reason, None

    def record_left_out(self, reason: str) -> None:
        """Count an image that is not even processed."""
        self.record_received()
        self.rejected += 1
        self._reason = reason

    def record_processed(self, result: FrameResult, step: float, latency: float) -> None:
        """Count the current image as published.

        step: seconds of the core's step; latency: seconds from the complete image to its publication, without the step.
        """
        self._processed += 1
        self._output.add()
        self._step.add(1e3 * step)
        self._latency.add(1e3 * latency)
        for stage, ms in result.stage_ms.items():
            self._stages.setdefault(stage, RateMeter()).add(ms)
        if held := result.geometry.held:
            self._held += 1
            self._holds.add()
            self._held_reason = str(held)
        self._start = None

    def record_map_jump(self) -> None:
        """Count a jump of the map frame of other nodes."""
        self._map_jumps += 1

    def record_map(self, scene: InstanceMap, instances: int, seconds: float = 0.0) -> None:
        """Note that the map was published with so many instances, and how long that took."""
        self.points, self.instances, self.stored = len(scene), instances, len(scene.instances)
        self._map.add(1e3 * seconds)

    @property
    def map_size(self) -> str:
        """What the last published map held."""
        return f"{self.points} points, {self.instances} instances ({self.stored} with those too small or seen too seldom to be shown)"

    def get_counters(self) -> FrameCounters:
        """Return the counts and times up to now."""
        start = self._start
        stage_ms = {stage: ms for stage, meter in list(self._stages.items()) if (ms := meter.median) is not None}
        return FrameCounters(
            received=self._received, processed=self._processed, dropped=self._dropped,
            rejected=self.rejected, reason=self._reason, held=self._held, held_reason=self._held_reason,
            held_rate=self._holds.rate, input_rate=self._input.rate, output_rate=self._output.rate,
            drop_rate=self._drops.rate, latency_ms=self._latency.median, step_ms=self._step.median,
            map_ms=self._map.median, map_jumps=self._map_jumps, stage_ms=stage_ms, silence=self._output.silence,
            busy=0.0 if start is None else monotonic() - start,
        )  # fmt: skip

    def get_resource_usage(self) -> ResourceUsage:
        """Return the sizes of the map and of memory now."""
        gpu_mib = torch.cuda.memory_allocated() / 1024**2 if torch.cuda.is_initialized() else 0.0
        return ResourceUsage(self.points, self.instances, self.stored, read_resident_mib(), gpu_mib)


def read_resident_mib() -> float:
    """Read the resident memory of this process (Linux), or its peak elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1024**2
    except OSError:
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
