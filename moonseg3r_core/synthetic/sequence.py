"""Frames of a walk through a furnished room, with ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.synthetic.camera_path import walk
from moonseg3r_core.synthetic.renderer import Renderer
from moonseg3r_core.synthetic.scene import Scene, furnish
from moonseg3r_core.types import Frame

RATE = 10.0  # frames a second


class SyntheticSequence(Sequence[Frame]):
    """Frames 0 .. frames - 1 of the room of a seed, at 10 Hz, each rendered on access.

    `scene` replaces the seed's scene. Raises InputError for impossible sizes or angles.
    """

    def __init__(
        self, seed: int, frames: int = 120, height: int = 240, width: int = 320, fov_degrees: float = 70.0,
        device: torch.device | str = "cpu", scene: Scene | None = None,
    ) -> None:  # fmt: skip
        _check(height, width, fov_degrees)
        self.seed, self.height, self.width = seed, height, width
        self.scene = furnish(seed) if scene is None else scene
        self.poses = walk(self.scene, frames, seed)
        self.intrinsics = make_intrinsics(height, width, fov_degrees)
        self.device = _parse_device(device)
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

    def render_ids(self, index: int) -> Tensor:
        """Render the object ids (H, W) int32 of frame `index`."""
        return self._draw(range(len(self))[index])[2]

    def _draw(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if self._last is None or self._last[0] != index:
            if self._renderer is None:
                self._renderer = Renderer(self.scene, self.device)
            self._last = index, self._renderer(self.intrinsics, self.poses[index], self.height, self.width)
        return self._last[1]


def make_intrinsics(height: int, width: int, fov_degrees: float) -> Tensor:
    """Make intrinsics (3, 3) float32 of a horizontal field of view; pixel i's center is u = i."""
    focal = width / 2 / float(np.tan(np.deg2rad(fov_degrees) / 2))
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float32)


def _parse_device(name: torch.device | str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be cpu, cuda or cuda:N, got {name!r}; cpu always works.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name} is asked for, but {torch.cuda.device_count()} CUDA devices are here; use cpu.")
    return device


def _check(height: int, width: int, fov_degrees: float) -> None:
    if min(height, width) < 8:
        raise InputError(f"a picture is 8 x 8 pixels or larger, got {width} x {height}; for example 320 x 240.")
    if not 10 <= fov_degrees <= 150:
        raise InputError(f"a field of view lies between 10 and 150 degrees, got {fov_degrees:g}; 70 is usual.")
