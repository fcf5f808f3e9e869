"""Measure the accuracy of fusions of the same masks on recordings with ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from moonseg3r_core.benchmarks.baselines import assign_new_ids, assign_overlapping_ids, assign_true_ids
from moonseg3r_core.benchmarks.preset import read_paper_preset
from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.build import build_segmenter, make_stage
from moonseg3r_core.config import Config
from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.evaluation.evaluate import DISTANCE
from moonseg3r_core.evaluation.ground_truth import GroundTruth, PosedDepth, View, find_ground_truth, read_ground_truth
from moonseg3r_core.evaluation.metrics.average_precision import SceneMatches, average_scenes, match_scene
from moonseg3r_core.evaluation.metrics.objects import FOUND, ObjectCounts, count_objects, sum_counts
from moonseg3r_core.evaluation.protocols.project import ProjectProtocol
from moonseg3r_core.fusion.config import FusionConfig
from moonseg3r_core.fusion.lifting import make_label_image
from moonseg3r_core.io.images import decode_labels
from moonseg3r_core.settings import overlay, to_dict
from moonseg3r_core.sources import open_source
from moonseg3r_core.sources.layouts import find_layout
from moonseg3r_core.synthetic import DepthNoise, SyntheticSequence, write_scannet

BASELINES, AS_SET, OWN = ("one instance per mask", "greedy overlap, 3 cm"), "as set", "own"


def list_fusions() -> dict[str, Mapping[str, Any]]:
    """The settings of each fusion, by the name of its row: the paper's preset; its terms with thresholds and boxes that
    suit weight-free queries; then one addition after another. Each sets all of fusion.
    """
    ours = {f"fusion.{name}": value for name, value in to_dict(FusionConfig()).items()}
    unmerged = {**ours, "fusion.merge": "none"}
    single_view = {**unmerged, "fusion.consensus": "none"}
    return {
        "paper (eq 12)": read_paper_preset(),
        "eq 12, our thresholds": {**single_view, "fusion.match": "paper", "fusion.parts": "new"},
        "+ overlap with the map": {**single_view, "fusion.parts": "new"},
        "+ parts join": single_view,
        "+ view consensus": unmerged,
        "default": ours,  # learned queries are merged within the frame, too
    }


@dataclass(frozen=True)
class Recording:
    """A recording in a folder with its ground truth and a folder of masks, None: those of the configuration."""

    path: Path
    masks: Path | None
    truth: GroundTruth
    data: PosedDepth

    def read_views(self) -> Iterator[View]:
        """Read the frames with usable depth and pose, with the masks as labels."""
        for index in self.data.indices:
            view = self.data.read_view(index, self._read_labels(index))
            if view is not None:
                yield view

    def _read_labels(self, index: int) -> np.ndarray:
        if self.masks is None:
            return self.blank
        try:
            return decode_labels((self.masks / f"{index}.png").read_bytes()).astype(np.int32)
        except (OSError, FrameRejected):
            return self.blank

    @property
    def blank(self) -> np.ndarray:
        """Labels (H, W) int32 of a frame without masks."""
        return np.zeros(self.data.size, np.int32)

    def list_frames(self) -> list[int]:
        """List the numbers of the frames that `read_views` yields."""
        return [index for index in self.data.indices if self.data.read_view(index, self.blank) is not None]

    def transfer(self, id_maps: Iterable[np.ndarray]) -> np.ndarray:
        """Transfer one id map per view to the points of the truth: labels (N,), protocol project."""
        votes = ProjectProtocol(self.truth.points, DISTANCE)
        for ids, view in zip(id_maps, self.read_views(), strict=True):
            votes.add(ids, *view[1:])
        return votes.compute_labels()

    def match(self, labels: np.ndarray) -> SceneMatches:
        """Match labels (N,) with the truth: equal scores, structure included."""
        return match_scene(self.truth.instance_ids, labels)

    def score(self, id_maps: Iterable[np.ndarray]) -> SceneMatches:
        """Match one id map per view with the truth."""
        return self.match(self.transfer(id_maps))


@dataclass(frozen=True)
class Fused:
    """One id map per view of a recording, and the ids that are listed in the end."""

    id_maps: Iterable[np.ndarray]
    listed: frozenset[int] = frozenset()


def measure_accuracy(paths: Sequence[str | Path], masks: str, config: Config, quiet: bool = False) -> list[Table]:
    """Measure AP, AP50 and AP25 of every fusion, and of the configuration's own where it sets another; and how many
    instances the configuration's fusion makes of an object.

    Each path, a recording or a folder of recordings (their mean), has a group of columns. `masks`: given, regions, or own:
    those of the configuration, which are fused by its own fusion alone. Raises InputError without ground truth.
    """
    groups = {Path(path).resolve().name: find_recordings(Path(path)) for path in paths}
    as_set = "default" if config.fusion == FusionConfig() else AS_SET
    own = () if as_set == "default" else (AS_SET,)
    every = [*BASELINES, *list_fusions(), *own, "true ids (ceiling)"]
    rows: list[Row] = [{"fusion": name} for name in ([as_set] if masks == OWN else every)]
    counted: list[Row] = []
    with TemporaryDirectory() as scratch:
        for group, folders in groups.items():
            scenes = [open_recording(folder, masks, Path(scratch) / group / folder.name, config) for folder in folders]
            for row in tqdm(rows, desc=f"{group}, {masks} masks", unit="fusion", disable=quiet):
                fused = [fuse(str(row["fusion"]), scene, config) for scene in scenes]
                labels = [scene.transfer(each.id_maps) for scene, each in zip(scenes, fused, strict=True)]
                matches = [scene.match(each) for scene, each in zip(scenes, labels, strict=True)]
                scored = average_scenes(matches)
                row |= {f"{group} AP": scored.ap, f"{group} AP50": scored.ap50, f"{group} AP25": scored.ap25}
                if row["fusion"] == as_set:
                    counted += _count_instances(group, scenes, labels, fused)
    title = f"accuracy, {masks} masks: class-agnostic AP, protocol project, equal scores, structure included"
    return [Table(title, rows, 3), Table(f"instances of an object, {masks} masks, fusion {as_set}", counted)]


def _count_instances(
    group: str, scenes: Sequence[Recording], labels: Sequence[np.ndarray], fused: Sequence[Fused]
) -> list[Row]:
    """Count the instances of a group of recordings: of all ids, and of those that are listed."""
    given = [(scene.truth.instance_ids, each) for scene, each in zip(scenes, labels, strict=True)]
    everything = [count_objects(*pair) for pair in given]
    listed = [count_objects(*pair, each.listed) for pair, each in zip(given, fused, strict=True)]
    return [_format_counts(f"{group}, frames", everything), _format_counts(f"{group}, list", listed)]


def _format_counts(name: str, scenes: Sequence[ObjectCounts]) -> Row:
    counts = sum_counts(scenes)
    found = {f"found at {iou:g}": number for iou, number in zip(FOUND, counts.found, strict=True)}
    return {
        "ids of": name, "objects": counts.objects, **found, "instances": counts.instances,
        "match no object": counts.unmatched, "per object": counts.per_object,
    }  # fmt: skip


def fuse(name: str, recording: Recording, config: Config) -> Fused:
    """Fuse a recording's masks by the fusion of that name."""
    if name == "one instance per mask":
        return Fused(assign_new_ids(recording.read_views()))
    if name == "greedy overlap, 3 cm":
        return Fused(assign_overlapping_ids(recording.read_views()))
    if name == "true ids (ceiling)":
        true = recording.truth
        return Fused(assign_true_ids(recording.read_views(), true.points, true.instance_ids))
    return segment(recording, overlay(config, list_fusions().get(name, {})))


def segment(recording: Recording, config: Config) -> Fused:
    """Segment a recording with its masks; the id maps have the final ids, and 0 in a rejected frame."""
    segmenter = build_segmenter(set_masks(config, recording))
    id_maps: dict[int, np.ndarray] = {}
    for frame in open_source(str(recording.path), input=config.input):
        with suppress(FrameRejected):
            id_maps[frame.index] = segmenter.step(frame).instance_ids.cpu().numpy()
    listed = segmenter.snapshot().published(config.map.min_observations, config.map.min_points)
    return Fused(apply_final_ids(id_maps, segmenter.final_ids, recording), frozenset(i.id for i in listed))


def set_masks(config: Config, recording: Recording) -> Config:
    """Set the masks of a configuration to those of a recording, if it brings any."""
    if recording.masks is None:
        return config
    return overlay(config, {"masks.kind": "precomputed", "masks.precomputed.folder": str(recording.masks)})


def apply_final_ids(
    id_maps: Mapping[int, np.ndarray], final_ids: Mapping[int, int], recording: Recording
) -> list[np.ndarray]:
    """Replace the ids of id maps by the final ids; return one map per view, 0 in a rejected frame."""
    final = np.arange(1 + max((int(ids.max()) for ids in id_maps.values()), default=0))
    for old, new in final_ids.items():
        final[old] = new
    return [final[id_maps.get(index, recording.blank)] for index in recording.list_frames()]


def find_recordings(path: Path) -> list[Path]:
    """Find the recording at a path, or those in its folders. Raises InputError when none has ground truth."""
    if path.is_dir() and find_layout(path):
        return [find_ground_truth(path).parent]
    found = sorted(file.parent for file in path.glob("*/gt.npz"))
    if not found:
        raise InputError(f"{path} must be a ScanNet export with gt.npz or a folder of such, got neither.")
    return found


def open_recording(path: Path, masks: str, scratch: Path, config: Config) -> Recording:
    """Open a recording with its given masks, with `regions`, which are computed into `scratch`, or without."""
    own = path / "masks"
    if masks == "given" and not own.is_dir():
        raise InputError(f"{path} brings no masks/; make them, or use --masks regions.")
    if masks == "regions":
        write_regions(path, scratch, config)
    chosen = {"given": own, "regions": scratch, OWN: None}[masks]
    return Recording(path, chosen, read_ground_truth(path / "gt.npz"), PosedDepth(path, config.input))


def write_regions(path: Path, folder: Path, config: Config) -> None:
    """Compute the masks of kind `regions` of every frame and write folder/N.png."""
    folder.mkdir(parents=True)
    config = overlay(config, {"masks.kind": "regions"})
    reconstruction, masks = make_stage("reconstruction", config), make_stage("masks", config)
    for frame in open_source(str(path), input=config.input):
        with suppress(FrameRejected):  # such a frame has no masks and no view
            geometry = reconstruction(frame)
            labels = make_label_image(masks(frame, geometry), geometry)
            cv2.imwrite(str(folder / f"{frame.index}.png"), labels.cpu().numpy().astype(np.uint16))


def render_rooms(folder: str | Path, seeds: Sequence[int] = (1001, 1002), frames: int = 60) -> Path:
    """Render rooms with noisy masks and depth as ScanNet exports in folder/synthetic."""
    group = Path(folder) / "synthetic"
    for seed in seeds:
        write_scannet(group / f"room_{seed}", SyntheticSequence(seed, frames), depth_noise=DepthNoise())
    return group
