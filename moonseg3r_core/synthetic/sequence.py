"""A walk through a furnished room as frames, with the truth of what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.synthetic.camera_path import walk
from moonseg3r_core.synthetic.render import Renderer
from moonseg3r_core.synthetic.scene import Scene, furnish
from moonseg3r_core.types import Frame
from moonseg3r_core.voxels import voxel_keys

RATE = 10.0  # frames a second
VOXEL = 0.02  # metres, of the true cloud


class SyntheticSequence(Sequence[Frame]):
    """Frames 0 .. frames - 1 of the room of a seed, at 10 Hz; each is drawn when it is asked for.

    `scene` may be given instead of the seed's own. Raises InputError for sizes or angles that no camera has.
    """

    def __init__(
        self, seed: int, frames: int = 120, height: int = 240, width: int = 320, fov_degrees: float = 70.0,
        device: torch.device | str = "cpu", scene: Scene | None = None,
    ) -> None:  # fmt: skip
        _check(seed, height, width, fov_degrees)
        self.seed, self.height, self.width = seed, height, width
        self.scene = furnish(seed) if scene is None else scene
        self.poses = walk(self.scene, frames, seed)
        self.intrinsics = pinhole(height, width, fov_degrees)
        self.device = _device(device)
        self._renderer: Renderer | None = None
        self._last: tuple[int, tuple[Tensor, Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        image, depth, _ = self._draw(index)
        return Frame(index, index / RATE, image, depth, self.intrinsics, self.poses[index])

    def __iter__(self) -> Iterator[Frame]:
        for index in range(len(self)):
            yield self[index]

    def ids(self, index: int) -> Tensor:
        """The object ids (H, W) int32 of frame `index`."""
        return self._draw(range(len(self))[index])[2]

    def ground_truth(self, voxel: float = VOXEL, every: int = 1) -> GroundTruth:
        """What every `every`-th frame saw: its pixels in the world, thinned to one point a voxel of its majority's id."""
        cloud = _Cloud.empty()
        for index in range(0, len(self), every):
            _, depth, ids = self._draw(index)
            points = transform(unproject(depth, self.intrinsics), self.poses[index])
            seen = depth > 0
            cloud = cloud.with_points(points[seen].cpu(), ids[seen].cpu(), voxel)
        return cloud.majority(self.scene.structure_ids)

    def _draw(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if self._last is None or self._last[0] != index:
            if self._renderer is None:
                self._renderer = Renderer(self.scene, self.device)
            self._last = index, self._renderer(self.intrinsics, self.poses[index], self.height, self.width)
        return self._last[1]


@dataclass(frozen=True)
class GroundTruth:
    """The true cloud: points (N, 3) float32 metres, instance_ids (N,) int32, structure_ids (floor, ceiling, walls)."""

    points: Tensor
    instance_ids: Tensor
    structure_ids: tuple[int, ...]


@dataclass(frozen=True)
class _Cloud:
    """Votes: one row per voxel and id, ascending; keys, ids (R,) int64, counts (R,) int64, sums (R, 3) float64."""

    keys: Tensor
    ids: Tensor
    counts: Tensor
    sums: Tensor

    @classmethod
    def empty(cls) -> _Cloud:
        none = torch.zeros(0, dtype=torch.int64)
        return cls(none, none, none, torch.zeros(0, 3, dtype=torch.float64))

    def with_points(self, points: Tensor, ids: Tensor, voxel: float) -> _Cloud:
        pairs = torch.stack((torch.cat((self.keys, voxel_keys(points, voxel))), torch.cat((self.ids, ids.long()))), -1)
        distinct, row = torch.unique(pairs, dim=0, return_inverse=True)
        ones = torch.ones(len(points), dtype=torch.int64)
        counts = torch.zeros(len(distinct), dtype=torch.int64).index_add_(0, row, torch.cat((self.counts, ones)))
        sums = torch.zeros(len(distinct), 3, dtype=torch.float64)
        sums.index_add_(0, row, torch.cat((self.sums, points.double())))
        return _Cloud(distinct[:, 0], distinct[:, 1], counts, sums)

    def majority(self, structure_ids: tuple[int, ...]) -> GroundTruth:
        """One point a voxel: the mean of the majority's points, with its id; the smaller id where two tie."""
        _, row = torch.unique_consecutive(self.keys, return_inverse=True)
        order = np.lexsort((self.ids.numpy(), -self.counts.numpy(), row.numpy()))
        first = np.concatenate(([True], np.diff(row.numpy()[order]) > 0))[: len(order)]
        best = torch.from_numpy(order[first])
        points = (self.sums[best] / self.counts[best, None]).float()
        return GroundTruth(points, self.ids[best].int(), structure_ids)


def pinhole(height: int, width: int, fov_degrees: float) -> Tensor:
    """Intrinsics (3, 3) float32 of a camera that sees `fov_degrees` from left to right; pixel i's center is u = i."""
    focal = width / 2 / float(np.tan(np.deg2rad(fov_degrees) / 2))
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float32)


def _device(name: torch.device | str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be cpu, cuda or cuda:N, got {name!r}; cpu always works.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name} is asked for, but {torch.cuda.device_count()} CUDA devices are here; use cpu.")
    return device


def _check(seed: int, height: int, width: int, fov_degrees: float) -> None:
    if seed < 0:
        raise InputError(f"a synthetic seed is a whole number >= 0, got {seed}; for example synthetic:0.")
    if min(height, width) < 8:
        raise InputError(f"a picture is 8 x 8 pixels or larger, got {width} x {height}; for example 320 x 240.")
    if not 10 <= fov_degrees <= 150:
        raise InputError(f"a field of view lies between 10 and 150 degrees, got {fov_degrees:g}; 70 is usual.")
