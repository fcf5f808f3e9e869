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
from moonseg3r_core.evaluation.protocols.project import ProjectProtocol
from moonseg3r_core.fusion.config import FusionConfig
from moonseg3r_core.fusion.lifting import make_label_image
from moonseg3r_core.io.images import decode_labels
from moonseg3r_core.settings import overlay, to_dict
from moonseg3r_core.sources import open_source
from moonseg3r_core.sources.layouts import find_layout
from moonseg3r_core.synthetic import DepthNoise, SyntheticSequence, write_scannet

BASELINES, AS_SET = ("one instance per mask", "greedy overlap, 3 cm"), "as set"


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
    """A recording in a folder with its ground truth and a folder of masks."""

    path: Path
    masks: Path
    truth: GroundTruth
    data: PosedDepth

    def read_views(self) -> Iterator[View]:
        """Read the frames with usable depth and pose, with the masks as labels."""
        for index in self.data.indices:
            view = self.data.read_view(index, self._read_labels(index))
            if view is not None:
                yield view

    def _read_labels(self, index: int) -> np.ndarray:
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

    def score(self, id_maps: Iterable[np.ndarray]) -> SceneMatches:
        """Match one id map per view with the truth: protocol project, equal scores, structure included."""
        votes = ProjectProtocol(self.truth.points, DISTANCE)
        for ids, view in zip(id_maps, self.read_views(), strict=True):
            votes.add(ids, *view[1:])
        return match_scene(self.truth.instance_ids, votes.compute_labels())


def measure_accuracy(paths: Sequence[str | Path], masks: str, config: Config, quiet: bool = False) -> Table:
    """Measure AP, AP50 and AP25 of every fusion, and of the configuration's own where it sets another.

    Each path, a recording or a folder of recordings (their mean), has a group of columns. `masks`: given or regions.
    Raises InputError without ground truth.
    """
    groups = {Path(path).resolve().name: find_recordings(Path(path)) for path in paths}
    own = () if config.fusion == FusionConfig() else (AS_SET,)
    rows: list[Row] = [{"fusion": name} for name in [*BASELINES, *list_fusions(), *own, "true ids (ceiling)"]]
    with TemporaryDirectory() as scratch:
        for group, folders in groups.items():
            scenes = [open_recording(folder, masks, Path(scratch) / group / folder.name, config) for folder in folders]
            for row in tqdm(rows, desc=f"{group}, {masks} masks", unit="fusion", disable=quiet):
                scored = average_scenes([scene.score(fuse(str(row["fusion"]), scene, config)) for scene in scenes])
                row |= {f"{group} AP": scored.ap, f"{group} AP50": scored.ap50, f"{group} AP25": scored.ap25}
    title = f"accuracy, {masks} masks: class-agnostic AP, protocol project, equal scores, structure included"
    return Table(title, rows, 3)


def fuse(name: str, recording: Recording, config: Config) -> Iterable[np.ndarray]:
    """Fuse a recording's masks by the fusion of that name; return one id map per view."""
    if name == "one instance per mask":
        return assign_new_ids(recording.read_views())
    if name == "greedy overlap, 3 cm":
        return assign_overlapping_ids(recording.read_views())
    if name == "true ids (ceiling)":
        return assign_true_ids(recording.read_views(), recording.truth.points, recording.truth.instance_ids)
    return segment(recording, overlay(config, list_fusions().get(name, {})))


def segment(recording: Recording, config: Config) -> list[np.ndarray]:
    """Segment a recording with its masks; return the final id maps, one per view, 0 in a rejected frame."""
    segmenter = build_segmenter(set_masks(config, recording))
    id_maps: dict[int, np.ndarray] = {}
    for frame in open_source(str(recording.path), input=config.input):
        with suppress(FrameRejected):
            id_maps[frame.index] = segmenter.step(frame).instance_ids.cpu().numpy()
    return apply_final_ids(id_maps, segmenter.final_ids, recording)


def set_masks(config: Config, recording: Recording) -> Config:
    """Set the masks of a configuration to those of a recording."""
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
    """Open a recording with its given masks, or with `regions`, which are computed into `scratch`."""
    own = path / "masks"
    if masks == "given" and not own.is_dir():
        raise InputError(f"{path} brings no masks/; make them, or use --masks regions.")
    if masks == "regions":
        write_regions(path, scratch, config)
    chosen, data = own if masks == "given" else scratch, PosedDepth(path, config.input)
    return Recording(path, chosen, read_ground_truth(path / "gt.npz"), data)


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
