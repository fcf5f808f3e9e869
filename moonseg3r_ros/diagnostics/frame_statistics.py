"""What became of the frames: counts and times, written where they arise and read by diagnostics."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from time import monotonic

import torch

from moonseg3r_core import FrameResult, InstanceMap
from moonseg3r_ros.diagnostics.diagnose import Flow, Load
from moonseg3r_ros.diagnostics.rate_meter import Meter


class Ledger:
    """Counts since the start, and times over the last seconds."""

    def __init__(self) -> None:
        self.rejected = self.points = self.instances = self.stored = 0
        self._received = self._processed = self._dropped = self._held = 0
        self._reason = self._why_held = ""
        self._begun: float | None = None
        self._input, self._output, self._drops, self._holds = Meter(), Meter(), Meter(), Meter()
        self._step, self._beyond, self._map = Meter(), Meter(), Meter(60.0)
        self._rooms: dict[str, Meter] = {}

    def receive(self) -> None:
        """An image came, with all that belongs to it."""
        self._received += 1
        self._input.add()

    def drop(self) -> None:
        """A newer image took the place of one that nobody had taken."""
        self._dropped += 1
        self._drops.add()

    def begin(self) -> None:
        """An image goes into work."""
        self._begun = monotonic()

    def reject(self, why: str) -> None:
        """The image at work cannot be used."""
        self.rejected += 1
        self._reason, self._begun = why, None

    def took(self, result: FrameResult, step: float, beyond: float) -> None:
        """The image at work is out: seconds of the core's step, and of all else from being whole to being published."""
        self._processed += 1
        self._output.add()
        self._step.add(1e3 * step)
        self._beyond.add(1e3 * beyond)
        for room, ms in result.stage_ms.items():
            self._rooms.setdefault(room, Meter()).add(ms)
        if result.geometry.held:
            self._held += 1
            self._holds.add()
            self._why_held = str(result.geometry.held)
        self._begun = None

    def mapped(self, scene: InstanceMap, instances: int, seconds: float = 0.0) -> None:
        """The map was published with so many instances; so long it took to describe, build and publish it."""
        self.points, self.instances, self.stored = len(scene), instances, len(scene.instances)
        self._map.add(1e3 * seconds)

    @property
    def size(self) -> str:
        """What the map held when it was published last."""
        return f"{self.points} points, {self.instances} instances ({self.stored} with those too small or seen too seldom to be shown)"

    def flow(self) -> Flow:
        """The images' way up to now."""
        begun = self._begun
        rooms = {room: ms for room, meter in list(self._rooms.items()) if (ms := meter.median) is not None}
        return Flow(
            received=self._received,
            processed=self._processed,
            dropped=self._dropped,
            rejected=self.rejected,
            reason=self._reason,
            held=self._held,
            why_held=self._why_held,
            held_rate=self._holds.rate,
            input_rate=self._input.rate,
            output_rate=self._output.rate,
            drop_rate=self._drops.rate,
            latency_ms=self._beyond.median,
            step_ms=self._step.median,
            map_ms=self._map.median,
            room_ms=rooms,
            quiet=self._output.silence,
            working=0.0 if begun is None else monotonic() - begun,
        )

    def load(self) -> Load:
        """What is held now."""
        return Load(self.points, self.instances, self.stored, resident_mib(), gpu_mib())


def resident_mib() -> float:
    """Resident memory of this process now (Linux), or its peak elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1024**2
    except OSError:
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def gpu_mib() -> float:
    """GPU memory that this process's tensors take; 0 without a GPU."""
    return torch.cuda.memory_allocated() / 1024**2 if torch.cuda.is_initialized() else 0.0
