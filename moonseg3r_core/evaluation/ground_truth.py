"""Ground truth on points, and the depth and poses of its recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.evaluation.metrics.average_precision import MIN_POINTS
from moonseg3r_core.geometry import find_rigid_fault
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.layouts import find_layout
from moonseg3r_core.sources.layouts.recording import FolderRecording

FAR = 1e6  # metres; no scene reaches as far


class View(NamedTuple):
    """A labelled frame with the data set's geometry.

    labels (H, W) int, 0 = none; depth (H, W) float32 metres, 0 = none; intrinsics (3, 3); world_from_camera (4, 4).
    """

    labels: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray


@dataclass(frozen=True)
class GroundTruth:
    """Labelled points: points (N, 3) float32 metres, instance_ids (N,) int32, 0 = void.

    structure_ids (any,) int32: the ids of walls, floor and ceiling.
    """

    points: np.ndarray
    instance_ids: np.ndarray
    structure_ids: np.ndarray

    def remove_structure(self) -> np.ndarray:
        """Return instance_ids with structure set to void, where predictions do not count."""
        return np.where(np.isin(self.instance_ids, self.structure_ids), 0, self.instance_ids)


def find_ground_truth(path: str | Path) -> Path:
    """Find the gt.npz at a path or in the folder of a recording at it. Raises InputError when there is none."""
    path = Path(path)
    file = path if path.suffix == ".npz" else path / "gt.npz"
    if file.is_file():
        return file
    labels = [name for name in ("labels", "label", "instance", "instance-filt") if (path / name).is_dir()]
    found = f"{path} with 2D labels only ({labels[0]}/)" if labels else f"no {file}"
    raise InputError(
        f"ground truth must be a ScanNet-export folder with gt.npz (points, instance_ids), got {found}; "
        "write gt.npz: scores are taken on 3D points."
    )


def read_ground_truth(file: Path) -> GroundTruth:
    """Read the labelled points of a gt.npz. Raises InputError for other contents or without an object of 100 points."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())[:200]}; write it again.") from error
    points, ids = arrays.get("points"), arrays.get("instance_ids")
    if points is None or ids is None:
        raise InputError(f"{file} must hold points (N, 3) and instance_ids (N,), got {', '.join(arrays) or 'nothing'}.")
    structure = arrays.get("structure_ids", np.zeros(0, np.int32))
    are_ids = ids.dtype.kind in "iu" and (structure.dtype.kind in "iu" or not structure.size)
    are_points = points.dtype.kind == "f" and points.ndim == 2 and points.shape[1] == 3
    if not (are_ids and are_points) or ids.shape != points.shape[:1]:
        raise InputError(
            f"{file} must hold float points (N, 3), integer instance_ids (N,) and, if any, structure_ids, got "
            f"{points.dtype} {points.shape}, {ids.dtype} {ids.shape} and {structure.dtype} {structure.shape}."
        )
    if not (np.abs(points) < FAR).all():
        raise InputError(
            f"{file}: points must be finite and near, got NaN, infinite or lost ones; leave such points out."
        )
    if any((np.abs(given.astype(np.float64)) >= 2**31).any() for given in (ids, structure)):
        raise InputError(f"{file} must hold ids of 32 bits, got larger ones; number the objects from 1.")
    truth = GroundTruth(points.astype(np.float32), ids.astype(np.int32), structure.astype(np.int32).reshape(-1))
    if not (np.unique(ids[ids > 0], return_counts=True)[1] >= MIN_POINTS).any():
        raise InputError(f"{file} must hold an object of {MIN_POINTS} points or more, got none: nothing can be found.")
    return truth


class PosedDepth:
    """The depth and poses of a recording in a folder, by frame number, as `input` reads them.

    Raises InputError for another folder.
    """

    def __init__(self, folder: Path, input: InputConfig = DEFAULT) -> None:
        layout = find_layout(folder)
        if layout is None:
            raise InputError(
                f"{folder} must be a ScanNet export (color/ depth/ pose/ intrinsic/) or of another known layout beside "
                "gt.npz, got neither: depth and poses come from there."
            )
        self._recording = FolderRecording(layout, folder, stride=1, max_frames=None, input=input)
        if lacks := self._recording.lacks:
            raise InputError(
                f"{folder} must bring depth, intrinsics and poses beside gt.npz, got no {' and no '.join(lacks)}: "
                "views come from there."
            )
        self._ordinals = {index: ordinal for ordinal, index in enumerate(self._recording.indices)}
        try:
            image = self._recording.read_image(0)
        except FrameRejected as error:
            raise InputError(f"{folder}: {error}; the first image gives the size of all.") from error
        self.size = (image.shape[0], image.shape[1])

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers of all frames, in order."""
        return tuple(self._ordinals)

    def read_pose(self, index: int) -> Tensor | None:
        """Read world_from_camera (4, 4) of a frame; None where it is missing or not rigid."""
        try:
            pose = self._recording.read_pose(self._ordinals[index])
        except FrameRejected:
            return None
        return pose if pose is not None and find_rigid_fault(pose) is None else None

    def read_view(self, index: int, labels: np.ndarray) -> View | None:
        """Join labels (H, W) of a frame with its depth and pose; None where either is unusable."""
        pose = self.read_pose(index)
        try:
            depth, intrinsics = self._recording.read_geometry(self._ordinals[index], self.size)
        except FrameRejected:
            return None
        if pose is None or intrinsics is None or depth is None:
            return None
        return View(labels, depth.numpy(), intrinsics, pose.numpy())
