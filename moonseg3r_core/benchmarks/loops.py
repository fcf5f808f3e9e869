"""Measure what loops do on walks through rendered rooms that return: the camera's path, and ids of objects seen again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config
from moonseg3r_core.evaluation.metrics.queries import find_returns
from moonseg3r_core.evaluation.metrics.reconstruction import align_poses, compute_ate, compute_path_length
from moonseg3r_core.evaluation.simulated_masks import SimulatedMasks
from moonseg3r_core.ops.anchors import move_poses
from moonseg3r_core.settings import overlay
from moonseg3r_core.synthetic.sequence import SyntheticSequence
from moonseg3r_core.types import Frame, Geometry

MIN_PIXELS = 100  # of an object in view


def measure_loops(
    seeds: Sequence[int], config: Config, frames: int = 400, away: int = 60, quiet: bool = False
) -> Table:
    """Measure ATE as given out and as corrected at the end, and the share of objects that return after `away` frames with
    the id that they had, with and without loops; color and intrinsics alone, simulated masks.
    """
    rows = [
        _measure(SyntheticSequence(seed, frames), config, loops, away, quiet)
        for seed in seeds
        for loops in (True, False)
    ]
    return Table(f"walks of {frames} frames that return, reconstruction.kind={config.reconstruction.kind}", rows, 3)


class _Watched:
    """A reconstruction from color and intrinsics, and the path that it gives."""

    def __init__(self, reconstruction: Any) -> None:
        self._reconstruction = reconstruction
        self.given: list[torch.Tensor] = []
        self.corrected: list[torch.Tensor] = []
        self.true: list[torch.Tensor] = []
        self._anchors: list[int] = []
        self.held, self.ms = 0, 0.0

    def __call__(self, frame: Frame) -> Geometry:
        start = perf_counter()
        geometry = self._reconstruction(replace(frame, depth=None, world_from_camera=None))
        self.ms += 1e3 * (perf_counter() - start)
        self.corrected = move_poses(self.corrected, self._anchors, geometry.corrections)
        pose = geometry.world_from_camera.cpu()
        self.given.append(pose)
        self.corrected.append(pose)
        self._anchors.append(geometry.anchor)
        assert frame.world_from_camera is not None, "rendered frames have poses"
        self.true.append(frame.world_from_camera)
        self.held += geometry.held is not None
        return geometry


def _measure(walked: SyntheticSequence, config: Config, loops: bool, away: int, quiet: bool) -> Row:
    settings = {"masks.kind": "regions", "reconstruction.odometry.loops": loops}
    segmenter = build_segmenter(overlay(config, settings))
    watched = _Watched(segmenter.stages.reconstruction)
    segmenter.replace_stages(reconstruction=watched, masks=SimulatedMasks(walked.render_ids, walked.seed))
    fixed, seen = set(walked.scene.structure_ids), list[dict[int, int]]()
    for frame in tqdm(walked, desc=f"room {walked.seed}", unit="frame", disable=quiet):
        given, ids = segmenter.step(frame).instance_ids, walked.render_ids(frame.index)
        areas = torch.bincount(ids.flatten())
        things = [n for n in torch.nonzero(areas >= MIN_PIXELS).flatten().tolist() if n and n not in fixed]
        seen.append({n: int(torch.bincount(given[ids == n]).argmax()) for n in things})
    final = segmenter.final_ids
    found = find_returns([{n: final.get(id, id) for n, id in view.items()} for view in seen], away)
    true = torch.stack(watched.true)
    path = compute_path_length(true)
    given_ate, corrected_ate = (
        compute_ate(align_poses(torch.stack(poses), true), true) / path for poses in (watched.given, watched.corrected)
    )
    same = sum(before == after != 0 for before, after in found)
    return {
        "room": walked.seed, "loops": "closed" if loops else "left", "path m": f"{path:.1f}", "held": watched.held,
        "ATE %": f"{100 * given_ate:.2f}", "corrected ATE %": f"{100 * corrected_ate:.2f}",
        "returns": len(found), "with their id": same, "share": same / max(len(found), 1),
        "joins": len(final), "ms": f"{watched.ms / len(walked):.0f}",
    }  # fmt: skip
