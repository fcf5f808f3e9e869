"""Measure speed and memory of CUT3R with random weights, and a long run with a small net."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from time import perf_counter, process_time

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from moonseg3r_core.benchmarks.speed import read_resident_kib
from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.evaluation.reconstruction_scores import select_inputs
from moonseg3r_core.reconstruction.cut3r.build import open_net
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest
from moonseg3r_core.reconstruction.cut3r.reconstruction import Cut3rReconstruction
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.synthetic import SyntheticSequence

CASES = {
    "points: world": (OutputRequest(), torch.float32),
    "points: world, A": (OutputRequest(attention=StateAttention()), torch.float32),
    "points: self": (OutputRequest(world=False), torch.float32),
    "points: self, A": (OutputRequest(world=False, attention=StateAttention()), torch.float32),
    "points: self, A, bfloat16": (OutputRequest(world=False, attention=StateAttention()), torch.bfloat16),
}


def measure_speed(model: str, rounds: int, device: torch.device) -> Table:
    """Measure seconds per frame of the net at its own resolution; each round runs all cases in turn."""
    net = open_net(model, "", False, "cut3r", 0, device)
    side = net.sizes.image_size
    image = 2 * torch.rand(1, 3, side if side == 224 else side * 3 // 4, side, device=device) - 1
    cases = {name: partial(pass_through, net, image, *case) for name, case in CASES.items()}
    for case in cases.values():
        case()
    laps = [{name: measure_seconds(case, device) for name, case in cases.items()} for _ in range(rounds)]
    rows: list[Row] = []
    for name in cases:
        wall, cpu = np.median([lap[name] for lap in laps], axis=0).tolist()
        rows.append({"case": name, "s per frame": wall, "CPU s per frame": cpu})
    size = f"{image.shape[3]}x{image.shape[2]}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    title = f"{model}, random weights, {size}, {device.type}, medians of {rounds} rounds; peak memory {peak:.2f} GiB"
    return Table(title, rows, 3)


def pass_through(net: Cut3r, image: Tensor, request: OutputRequest, precision: torch.dtype) -> None:
    """Pass one frame through the net."""
    half = torch.autocast(image.device.type, precision, enabled=precision != torch.float32)
    with torch.inference_mode(), half:
        net(image, net.start(), request)


def measure_seconds(case: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Measure seconds of wall clock and of CPU."""
    start, begun = perf_counter(), process_time()
    case()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start, process_time() - begun


def measure_long_run(frames: int, device: torch.device, loop: int = 100, quiet: bool = False) -> Table:
    """Measure time and memory of the tiny net along a repeated loop: all frames are key frames, a submap has 100."""
    sequence = SyntheticSequence(0, frames=loop, height=120, width=160)
    views = [select_inputs(view, ()).to(device) for view in islice(sequence, loop)]
    net = open_net("cut3r-tiny", "", False, "cut3r", 0, device)
    reconstruction = Cut3rReconstruction(
        net, points="world", pose="model", precision="float32", attention=StateAttention(), geometric="modulation",
        reset_every=100, key_translation=0.0, key_rotation=0.0, min_confidence=1.0, loops=False, refinement=SingleViewDepth(),
    )  # fmt: skip
    rows: list[Row] = []
    tenth, laps = max(frames // 10, 1), []
    for t in tqdm(range(frames), unit="frame", disable=quiet):
        start = perf_counter()
        reconstruction(replace(views[t % loop], index=t, stamp=t / 10))
        laps.append(perf_counter() - start)
        if (t + 1) % tenth == 0:
            ms, mib, keys = 1e3 * float(np.median(laps)), read_resident_kib() / 1024, reconstruction.key_frames
            rows.append({"frames": t + 1, "median ms": ms, "resident MiB": mib, "key frames": keys})
            laps = []
    for row in rows:
        row["time ratio"] = float(row["median ms"]) / float(rows[0]["median ms"])
        row["memory ratio"] = float(row["resident MiB"]) / float(rows[0]["resident MiB"])
    return Table(f"cut3r-tiny over {frames} frames, {device.type}: a loop of {loop} at 160x120", rows)
