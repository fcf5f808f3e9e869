"""Measure the effects of queries: splits repaired by the merge, objects that keep their ids, and the refinement's time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from moonseg3r_core.benchmarks.accuracy import Recording, find_recordings, open_recording
from moonseg3r_core.benchmarks.memory import measure_ms
from moonseg3r_core.benchmarks.replay import Replay
from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config
from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.metrics.queries import Repairs, count_repairs, find_owners, find_returns
from moonseg3r_core.evaluation.simulated_masks import SimulatedMasks
from moonseg3r_core.io.images import decode_labels
from moonseg3r_core.ops.grids import resample_to_image
from moonseg3r_core.refinement.learned import QueryNet, QuerySizes
from moonseg3r_core.settings import overlay
from moonseg3r_core.stages import Merge
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.types import Frame, Geometry, Queries

_MIN_PIXELS = 100  # pixels of an object that is in view


def measure_repairs(paths: Sequence[str | Path], config: Config, quiet: bool = False) -> Table:
    """Count splits of the given masks that the within-frame merge repairs, and wrong merges; recordings need instance/N.png."""
    rows: list[Row] = []
    folders = [folder for path in paths for folder in find_recordings(Path(path))]
    for folder in tqdm(folders, desc="merge", unit="recording", disable=quiet):
        recording = open_recording(folder, "given", Path(), config)
        counted = _count_repairs(Replay.from_recording(recording, config), config)
        rows.append({
            "recording": folder.name, "objects": counted.objects, "split": counted.split,
            "whole after": counted.whole / max(counted.split, 1), "wrong per object": counted.wrong / max(counted.objects, 1),
        })  # fmt: skip
    title = "within-frame merge: objects with masks (frames added up), those split, and what became of them"
    return Table(title, rows, 3)


class _RecordingMerge:
    """A merge that records its last input and output."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries:
        self.before, self.after = queries, self.merge(queries, frame, geometry)
        return self.after


def _count_repairs(replay: Replay, config: Config) -> Repairs:
    segmenter, results = replay.run(config)
    watched = _RecordingMerge(segmenter.stages.merge)
    segmenter.replace_stages(merge=watched)
    total = Repairs()
    for result in results:
        ids = _read_exact_ids(replay.recording, result.index)
        size, masks = (ids.shape[0], ids.shape[1]), len(watched.before)
        queries = (watched.before, watched.after)
        before, after = (resample_to_image(each.labels, result.geometry, size) for each in queries)
        total += count_repairs(find_owners(before, ids, masks), find_owners(before, after, masks))
    return total


def _read_exact_ids(recording: Recording, index: int) -> torch.Tensor:
    file = recording.path / "instance" / f"{index}.png"
    if not file.is_file():
        raise InputError(f"{recording.path} must bring exact ids for every frame, got no {file.name} in instance/.")
    return torch.from_numpy(decode_labels(file.read_bytes()).astype(np.int32))


def measure_returns(
    seeds: Sequence[int], config: Config, frames: int = 480, away: int = 100, quiet: bool = False
) -> Table:
    """Count objects that return after `away` frames out of view of walks through rendered rooms, and those with the same id."""
    rows: list[Row] = []
    for seed in seeds:
        found = _find_returns_in_walk(SyntheticSequence(seed, frames), config, away, quiet)
        same = sum(before == after != 0 for before, after in found)
        rows.append({"room": seed, "returns": len(found), "known again": same, "share": same / max(len(found), 1)})
    total = {name: sum(int(row[name]) for row in rows) for name in ("returns", "known again")}
    rows.append({"room": "all", **total, "share": total["known again"] / max(total["returns"], 1)})
    return Table(f"objects that return after {away} frames or more out of view, walks of {frames} frames", rows, 3)


def _find_returns_in_walk(walked: SyntheticSequence, config: Config, away: int, quiet: bool) -> list[tuple[int, int]]:
    segmenter = build_segmenter(overlay(config, {"masks.kind": "regions"}))
    segmenter.replace_stages(masks=SimulatedMasks(walked.render_ids, walked.seed))
    fixed, seen = set(walked.scene.structure_ids), list[dict[int, int]]()
    for frame in tqdm(walked, desc=f"returns, room {walked.seed}", unit="frame", disable=quiet):
        given = segmenter.step(frame).instance_ids
        ids = walked.render_ids(frame.index)
        areas = torch.bincount(ids.flatten())
        things = [n for n in torch.nonzero(areas >= _MIN_PIXELS).flatten().tolist() if n and n not in fixed]
        seen.append({n: int(torch.bincount(given[ids == n]).argmax()) for n in things})
    final = segmenter.final_ids
    return find_returns([{n: final.get(id, id) for n, id in view.items()} for view in seen], away)


def measure_cost(
    sizes: QuerySizes, masks: int = 30, context: int = 200, repeats: int = 21, device: str = "cpu"
) -> Table:
    """Measure one refinement at 512x384 (cells of 16 pixels)."""
    net, cells = QueryNet(sizes).eval().to(device), 32 * 24
    generator = torch.Generator().manual_seed(0)
    shares = (torch.rand(1, masks, cells, generator=generator) < 1 / masks).float().to(device)
    features = torch.randn(1, cells, sizes.channels, device=device)
    recalled = torch.randn(1, context, sizes.width, device=device)
    known = torch.ones(1, context, dtype=torch.bool, device=device)

    @torch.no_grad()
    def refine() -> float:
        return float(net(features, shares, recalled, known).sum())  # the read waits for the device

    times = measure_ms(lambda: refine, repeats)
    row: Row = {"masks": masks, "recalled": context, "width": sizes.width, "median ms": times[0], "best ms": times[1]}
    return Table(f"refinement at 512x384, {device}, {torch.get_num_threads()} threads", [row])
