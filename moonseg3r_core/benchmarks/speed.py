"""Measure the speed of the segmenter on a recording, and its memory over a long loop."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config
from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.evaluation.simulated_masks import SimulatedMasks
from moonseg3r_core.resolve import check_recording
from moonseg3r_core.settings import overlay
from moonseg3r_core.sources import Topics, open_source
from moonseg3r_core.synthetic import SyntheticSequence

_PAGE_KIB = resource.getpagesize() / 1024


def measure_speed(path: str, config: Config, frames: int | None = None, topics: Topics | None = None) -> Table:
    """Measure milliseconds per stage and frames per second of `step`; frames are read beforehand in small batches."""
    source = open_source(path, max_frames=frames, topics=topics, input=config.input)
    check_recording(config, source.name, source.lacks, source.absent)
    segmenter = build_segmenter(config, masks_folder=source.masks_folder)
    laps: list[dict[str, float]] = []
    walk = iter(source)
    while batch := list(islice(walk, 16)):
        for frame in batch:
            start = perf_counter()
            with suppress(FrameRejected):
                result = segmenter.step(frame)
                laps.append({**result.stage_ms, "step": 1e3 * (perf_counter() - start)})
    if not laps:
        raise SourceError(f"{source.name} holds no frame that can be used; `moonseg3r run` says why.")
    names = dict.fromkeys(name for lap in laps for name in lap)
    rows: list[Row] = [_make_row(name, [lap[name] for lap in laps if name in lap]) for name in names]
    rate = 1e3 / float(np.mean([lap["step"] for lap in laps]))
    return Table(f"speed of step on {Path(path).name}, {len(laps)} frames: {rate:.1f} frames/s", rows, 1)


def _make_row(name: str, ms: list[float]) -> Row:
    median, high = np.percentile(ms, (50, 90)).tolist()
    return {"stage": name, "median ms": median, "90 % ms": high, "worst ms": max(ms)}


def measure_endurance(config: Config, frames: int = 2000, loop: int = 100, quiet: bool = False) -> Table:
    """Measure resident memory and time per frame along a repeated synthetic loop with noisy masks."""
    sequence = SyntheticSequence(0, frames=loop, height=120, width=160)
    views = [(sequence[i], sequence.render_ids(i)) for i in range(loop)]
    segmenter = build_segmenter(overlay(config, {"masks.kind": "regions"}))
    segmenter.replace_stages(masks=SimulatedMasks(lambda index: views[index % loop][1], seed=0))
    rows: list[Row] = []
    quarter = max(frames // 4, 1)
    start = perf_counter()
    for t in tqdm(range(frames), unit="frame", disable=quiet):
        segmenter.step(replace(views[t % loop][0], index=t, stamp=t / 10))
        if (t + 1) % quarter == 0:
            instances = len(segmenter.snapshot().instances)
            mib = read_resident_kib() / 1024
            ms = 1e3 * (perf_counter() - start) / quarter
            rows.append({"frames": t + 1, "resident MiB": mib, "ms per frame": ms, "instances": instances})
            start = perf_counter()
    for row in rows:
        row["memory ratio"] = float(row["resident MiB"]) / float(rows[0]["resident MiB"])
    return Table(f"endurance: a loop of {loop} frames at 160x120, walked {frames // loop} times", rows)


def read_resident_kib() -> float:
    """Read the resident memory of this process (Linux), or its peak elsewhere."""
    try:
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * _PAGE_KIB
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
