"""What queries do in the house, part by part: splits that the merge repairs, objects known again, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from moonseg3r_core.benchmarks.accuracy import Recording, find_recordings, open_recording
from moonseg3r_core.benchmarks.replay import Replay
from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config, overlay
from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.metrics.queries import Repairs, count_repairs, find_owners, find_returns
from moonseg3r_core.evaluation.simulated_masks import SimulatedMasks
from moonseg3r_core.ops.grids import resample_to_image
from moonseg3r_core.refinement.learned import QueryNet, QuerySizes
from moonseg3r_core.stages import Merge
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.types import Frame, Geometry, Queries

_LEAST = 100  # pixels of an object that is in view


def repairs_table(paths: Sequence[str | Path], config: Config, quiet: bool = False) -> Table:
    """Splits of the given masks that the within-frame merge repairs, and its mistakes, in recordings with instance/N.png."""
    rows: list[Row] = []
    folders = [folder for path in paths for folder in find_recordings(Path(path))]
    for folder in tqdm(folders, desc="merge", unit="recording", disable=quiet):
        recording = open_recording(folder, "given", Path(), config)
        counted = _count_repairs(Replay.of(recording, config), config)
        rows.append({
            "recording": folder.name, "objects": counted.objects, "split": counted.split,
            "whole after": counted.whole / max(counted.split, 1), "wrong per object": counted.wrong / max(counted.objects, 1),
        })  # fmt: skip
    return Table(
        "within-frame merge: objects with masks (frames added up), those split, and what became of them", rows, 3
    )


class _WatchedMerge:
    """A merge, and what it was given and gave last."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries:
        self.before, self.after = queries, self.merge(queries, frame, geometry)
        return self.after


def _count_repairs(replay: Replay, config: Config) -> Repairs:
    segmenter, results = replay.results(config)
    watched = _WatchedMerge(segmenter.stages.merge)
    segmenter.replace_stages(merge=watched)
    total = Repairs()
    for result in results:
        ids = _exact_ids(replay.recording, result.index)
        before, after = (
            resample_to_image(queries.labels, result.geometry, (ids.shape[0], ids.shape[1]))
            for queries in (watched.before, watched.after)
        )
        masks = len(watched.before)
        total += count_repairs(find_owners(before, ids, masks), find_owners(before, after, masks))
    return total


def _exact_ids(recording: Recording, index: int) -> torch.Tensor:
    file = recording.path / "instance" / f"{index}.png"
    ids = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise InputError(f"{recording.path} must bring exact ids for every frame, got no {file.name} in instance/.")
    return torch.from_numpy(ids.astype(np.int32))


def returns_table(
    seeds: Sequence[int], config: Config, frames: int = 480, away: int = 100, quiet: bool = False
) -> Table:
    """Objects out of view for `away` frames in walks of two rounds through rendered rooms, and those known again."""
    rows: list[Row] = []
    for seed in seeds:
        found = _walked_returns(SyntheticSequence(seed, frames), config, away, quiet)
        same = sum(before == after != 0 for before, after in found)
        rows.append({"room": seed, "returns": len(found), "known again": same, "share": same / max(len(found), 1)})
    total = {name: sum(int(row[name]) for row in rows) for name in ("returns", "known again")}
    rows.append({"room": "all", **total, "share": total["known again"] / max(total["returns"], 1)})
    return Table(f"objects that return after {away} frames or more out of view, walks of {frames} frames", rows, 3)


def _walked_returns(walked: SyntheticSequence, config: Config, away: int, quiet: bool) -> list[tuple[int, int]]:
    segmenter = build_segmenter(overlay(config, {"masks.kind": "regions"}))
    segmenter.replace_stages(masks=SimulatedMasks(walked.render_ids, walked.seed))
    fixed, seen = set(walked.scene.structure_ids), list[dict[int, int]]()
    for frame in tqdm(walked, desc=f"returns, room {walked.seed}", unit="frame", disable=quiet):
        given = segmenter.step(frame).instance_ids
        ids = walked.render_ids(frame.index)
        areas = torch.bincount(ids.flatten())
        things = [n for n in torch.nonzero(areas >= _LEAST).flatten().tolist() if n and n not in fixed]
        seen.append({n: int(torch.bincount(given[ids == n]).argmax()) for n in things})
    final = segmenter.final_ids
    return find_returns([{n: final.get(id, id) for n, id in view.items()} for view in seen], away)


def cost_table(sizes: QuerySizes, masks: int = 30, context: int = 200, repeats: int = 21, device: str = "cpu") -> Table:
    """Milliseconds of one refinement at 512x384 (cells of 16 pixels)."""
    net, cells = QueryNet(sizes).eval().to(device), 32 * 24
    generator = torch.Generator().manual_seed(0)
    shares = (torch.rand(1, masks, cells, generator=generator) < 1 / masks).float().to(device)
    features, recalled = (
        torch.randn(1, cells, sizes.channels, device=device),
        torch.randn(1, context, sizes.width, device=device),
    )
    known = torch.ones(1, context, dtype=torch.bool, device=device)

    @torch.no_grad()
    def refine() -> float:
        return float(net(features, shares, recalled, known).sum())  # the read waits for the device

    row: Row = {"masks": masks, "recalled": context, "width": sizes.width, **_milliseconds(refine, repeats)}
    return Table(f"refinement at 512x384, {device}, {torch.get_num_threads()} threads", [row])


def _milliseconds(run: Callable[[], float], repeats: int) -> dict[str, float]:
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return {"median ms": statistics.median(times[2:]), "best ms": min(times[2:])}
