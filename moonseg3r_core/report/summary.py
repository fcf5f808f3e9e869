"""The contents of `summary.json`, and the verdict on a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moonseg3r_core.config import MapConfig
from moonseg3r_core.reconstruction.config import UNTRAINED

OK, IMPLAUSIBLE = "ok", "implausible input"


@dataclass(frozen=True)
class FrameCounts:
    """Frame counts of a run. `held` and `skipped` count frames by reason.

    `used` frames were processed. Of these, `without_depth` had no valid point, `without_masks` had points but no mask,
    and `held` added no points to the map.
    """

    used: int = 0
    without_depth: int = 0
    without_masks: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def read(self) -> int:
        return self.used + sum(self.skipped.values())


@dataclass(frozen=True)
class Summary:
    """The contents of `summary.json`.

    frames: used frames, of which `held` (by reason) added no points. skipped: by reason, not used.
    instances: published ones; `instances_withheld` were seen too seldom or hold too few points of the map.
    fps: from reading to writing. stage_ms: median milliseconds per stage. weights: hash by name.
    peak_gpu_memory_mib: 0 without a GPU. config: resolved. requested: before it was resolved.
    """

    version: str
    source: str
    source_kind: str
    frames: int
    held: Mapping[str, int]
    skipped: Mapping[str, int]
    instances: int
    instances_withheld: int
    points: int
    seconds: float
    fps: float
    stage_ms: Mapping[str, float]
    peak_memory_mib: float
    peak_gpu_memory_mib: float
    device: str
    masks_kind: str
    config: Mapping[str, Any]
    requested: Mapping[str, Any]
    weights: Mapping[str, str]
    interrupted: bool
    error: str
    verdict: str

    @property
    def untrained(self) -> str:
        """A notice for a run with random weights, else an empty text."""
        names = ", ".join(name for name, hash in self.weights.items() if hash == UNTRAINED)
        return f"{UNTRAINED}: {names} has random weights; what this run says of the scene is nonsense." if names else ""

    @property
    def estimated(self) -> str:
        """A notice for a map with depth estimated from color, else an empty text."""
        settings = self.config.get("reconstruction", {})
        pose = settings.get(settings.get("kind"), {}).get("pose")
        unit = "; lengths are in the net's unit, which aims at metres without a promise" if pose != "given" else ""
        return f"Depth is estimated from color: surfaces may be thick, bent or doubled{unit}." if pose else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def make_verdict(
    counts: FrameCounts, instances: int, withheld: int, limits: MapConfig, findings: Sequence[str] = ()
) -> str:
    """Return `ok`, or one line on input that cannot be right, or on why there is no instance and what to do."""
    verdict = OK if instances else _explain_no_instance(counts, withheld, limits)
    return " ".join([f"{IMPLAUSIBLE}:", *findings, *([] if instances else [verdict])]) if findings else verdict


def _explain_no_instance(counts: FrameCounts, withheld: int, limits: MapConfig) -> str:
    if not counts.read:
        return "no instance: the source gave no frame; check that it holds images."
    if not counts.used:
        return f"no instance: none of the {counts.read} frames read could be used. {_describe_skipped(counts)}"
    if withheld:
        return (
            f"no instance: {_format_count(counts.used, 'frame')} gave {_format_count(withheld, 'candidate')}, each seen in fewer than "
            f"{limits.min_observations} frames or holding fewer than {limits.min_points} points of the map; use more frames, "
            "a smaller --stride, or --set map.min_observations=1 map.min_points=0."
        )
    parts = [f"no instance: {_format_count(counts.used, 'frame')} used"]
    if counts.held:
        reason, number = max(counts.held.items(), key=lambda item: item[1])
        parts.append(f"{sum(counts.held.values())} without points of their own, {number} of them: {reason}")
    elif counts.without_depth:
        parts.append(f"{counts.without_depth} without depth in range (reconstruction.rgbd.min_depth, max_depth)")
    if counts.without_masks:
        parts.append(f"{counts.without_masks} whose masks are all void, too small (masks.min_area) or without depth")
    return ", ".join(parts) + ". " + _describe_skipped(counts) if counts.skipped else ", ".join(parts) + "."


def _describe_skipped(counts: FrameCounts) -> str:
    reason, number = max(counts.skipped.items(), key=lambda item: item[1])
    return f"{_format_count(sum(counts.skipped.values()), 'frame')} skipped, {number} of them with: {reason}"


def _format_count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
