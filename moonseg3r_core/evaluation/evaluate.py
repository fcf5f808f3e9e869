"""Score output folders of runs against ground truth under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.ap_report import Report, Scene, score_scenes
from moonseg3r_core.evaluation.ground_truth import GroundTruth, PosedDepth, find_ground_truth, read_ground_truth
from moonseg3r_core.evaluation.protocols.nearest import align_map, transfer_nearest_labels
from moonseg3r_core.evaluation.protocols.project import ProjectProtocol
from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.io.tum import read_tum
from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.settings import make_settings
from moonseg3r_core.sources.config import InputConfig

DISTANCE = 0.05  # metres


@dataclass(frozen=True)
class PointLabels:
    """Predicted labels (N,) int32 of the ground-truth points, 0 = none; the numbers of frames used and skipped."""

    labels: np.ndarray
    frames: int
    skipped: int


def evaluate(
    out: Path | str, ground_truth: Path | str, protocol: str = "project", distance: float = DISTANCE
) -> Report:
    """Score one output folder against a ScanNet export with gt.npz. Raises InputError as `evaluate_scenes` does."""
    return evaluate_scenes([(out, ground_truth)], protocol, distance)


def evaluate_scenes(
    pairs: Sequence[tuple[Path | str, Path | str]], protocol: str = "project", distance: float = DISTANCE
) -> Report:
    """Score pairs of an output folder and its ground truth.

    `distance`, metres: the largest distance of a ground-truth point from the measured depth (project) or from the map
    point (nearest) that gives its id.

    Raises InputError for an unknown protocol, a folder of another layout, or a pair without a common frame.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}, got '{protocol}'.")
    if not 0 < distance < float("inf"):
        raise InputError(f"distance must be above 0 metres, got {distance:g}; the default is {DISTANCE:g}.")
    return score_scenes(protocol, [_load_scene(Path(out), Path(truth), protocol, distance) for out, truth in pairs])


def _read_input_settings(folder: OutputFolder) -> InputConfig:
    """Read how a run read its recording; the defaults where it does not tell."""
    try:
        requested = folder.read_summary().get("requested") or {}
    except InputError:
        return InputConfig()
    return make_settings(InputConfig, requested.get("input", {}), "summary.json", "input.")


def _load_scene(out: Path, ground_truth: Path, protocol: str, distance: float) -> Scene:
    file = find_ground_truth(ground_truth)
    folder = OutputFolder(out)
    frames = list(folder.list_frames())
    if not frames:
        raise InputError(f"{out} must hold frames/N.png as `moonseg3r run -o` writes them, got none; give that folder.")
    data = PosedDepth(file.parent, _read_input_settings(folder))
    known = set(data.indices)
    common = [index for index in frames if index in known]
    if not common:
        raise InputError(
            f"{out} and {file.parent} must have frames in common, got numbers {frames[0]} to {frames[-1]} against "
            f"{min(data.indices)} to {max(data.indices)}; give the ground truth of the same recording."
        )
    truth = read_ground_truth(file)
    predicted = PROTOCOLS[protocol](folder, common, truth, data, distance)
    if not predicted.frames:
        raise InputError(
            f"{file.parent} must give depth, intrinsics and a rigid pose for frames of {out}, got these for none."
        )
    scores = {instance.id: instance.score for instance in folder.read_instances()}
    if not np.isfinite(list(scores.values())).all():
        raise InputError(f"{out / 'instances.json'} must give finite scores, got NaN or infinity; run again.")
    name = file.parent.resolve().name
    return Scene(name, truth, predicted.labels, scores, predicted.frames, predicted.skipped)


def transfer_frames(
    out: OutputFolder, common: Sequence[int], truth: GroundTruth, data: PosedDepth, distance: float
) -> PointLabels:
    """Transfer the id maps of the common frames through the data set's depth and poses (protocol `project`)."""
    votes = ProjectProtocol(truth.points, distance)
    for index in common:
        ids = out.read_frame(index)
        if ids.shape != data.size:
            raise InputError(
                f"{out.path / 'frames' / f'{index}.png'} must be {data.size[1]}x{data.size[0]} like the recording's "
                f"images, got {ids.shape[1]}x{ids.shape[0]}; write id maps at the input's size."
            )
        view = data.read_view(index, ids)
        if view is not None:
            votes.add(*view)
    return PointLabels(votes.compute_labels(), votes.frames, len(common) - votes.frames)


def transfer_map(
    out: OutputFolder, common: Sequence[int], truth: GroundTruth, data: PosedDepth, distance: float
) -> PointLabels:
    """Transfer the ids of the map, aligned by the camera centres of the common frames (protocol `nearest`)."""
    map = read_ply(out.path / "map.ply")
    _, poses = read_tum(out.path / "trajectory.tum")
    frames = list(out.list_frames())
    if len(poses) != len(frames):
        raise InputError(
            f"{out.path / 'trajectory.tum'} must have one pose per image of frames/, got {len(poses)} for "
            f"{len(frames)}; write both with one run."
        )
    predicted = dict(zip(frames, poses[:, :3, 3], strict=True))
    true = {index: pose[:3, 3] for index in common if (pose := data.read_pose(index)) is not None}
    if not true:
        return PointLabels(np.zeros(len(truth.points), dtype=np.int32), 0, len(common))
    centres = torch.stack([predicted[index] for index in true]), torch.stack(list(true.values()))
    aligned = align_map(map.points.numpy(), *centres)
    labels = transfer_nearest_labels(truth.points, aligned, map.instance_ids.numpy(), distance)
    return PointLabels(labels, len(true), len(common) - len(true))


PROTOCOLS: dict[str, Callable[[OutputFolder, Sequence[int], GroundTruth, PosedDepth, float], PointLabels]] = {
    "project": transfer_frames,
    "nearest": transfer_map,
}
