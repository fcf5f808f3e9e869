"""Record the frames of a run for its summary and report."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.ops.anchors import move_poses
from moonseg3r_core.report.gallery import Gallery
from moonseg3r_core.report.summary import FrameCounts
from moonseg3r_core.types import Frame, FrameResult

logger = logging.getLogger("moonseg3r")
MAX_PICTURES, PICTURE_WIDTH = 48, 640  # of the report


@dataclass
class RunLog:
    """The record of a run's frames."""

    started: float = field(default_factory=perf_counter)
    indices: list[int] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    poses: list[Tensor] = field(default_factory=list)  # where their key views have them now
    anchors: list[int] = field(default_factory=list)
    stage_ms: list[Mapping[str, float]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    gallery: Gallery = field(default_factory=lambda: Gallery(MAX_PICTURES, PICTURE_WIDTH))
    held: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    without_depth: int = 0
    without_masks: int = 0
    device: str = ""
    grid_width: int | None = None
    findings: list[str] = field(default_factory=list)
    interrupted: bool = False
    error: str = ""

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Record a frame that was processed."""
        self.indices.append(result.index)
        self.stamps.append(result.stamp)
        if len(result.geometry.corrections):
            self.poses = move_poses(self.poses, self.anchors, result.geometry.corrections)
        self.poses.append(result.geometry.world_from_camera.cpu())
        self.anchors.append(result.geometry.anchor)
        self.stage_ms.append(dict(result.stage_ms))
        self.seen.update(result.assignment.instance_ids.tolist())
        self.gallery.offer(result.index, frame.host_image)
        if result.geometry.held:
            self.held[result.geometry.held.reason] += 1
        has_depth = bool(result.geometry.valid.any())
        self.without_depth += not has_depth
        self.without_masks += has_depth and not bool(result.instance_ids.any())
        self.device = str(result.geometry.device)
        self.grid_width = result.geometry.grid.width

    def skip(self, frame: Frame, why: FrameRejected) -> None:
        """Count one frame that could not be used; the log has one line per reason."""
        if why.reason not in self.skipped:
            logger.warning("frame %d skipped: %s (said once, counted from here on)", frame.index, why)
        self.skipped[why.reason] += 1

    def count_frames(self, unreadable: Counter[str]) -> FrameCounts:
        """Count the frames of the run, with those that the source could not read, by reason."""
        skipped = dict(self.skipped + unreadable)
        return FrameCounts(len(self.indices), self.without_depth, self.without_masks, dict(self.held), skipped)

    def count_instances(self, final_ids: Mapping[int, int]) -> int:
        """Count the instances so far, with those seen once."""
        return len(self.seen.difference(final_ids))

    def compute_stage_medians(self) -> dict[str, float]:
        """Compute each stage's median milliseconds over the frames in which it ran, in the order of the stages."""
        stages = dict.fromkeys(stage for frame in self.stage_ms for stage in frame)
        return {name: float(np.median([frame[name] for frame in self.stage_ms if name in frame])) for name in stages}
