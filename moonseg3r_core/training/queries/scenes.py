"""The scenes that queries are trained on: recordings of any kind, and procedural rooms; each gives windows of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol
from zlib import crc32

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from moonseg3r_core.errors import InputError, SourceError
from moonseg3r_core.evaluation.simulated_masks import SimulatedMasks
from moonseg3r_core.sources import open_source
from moonseg3r_core.stages import MaskModel
from moonseg3r_core.synthetic import DepthNoise, ImageNoise, SyntheticSequence
from moonseg3r_core.training.data.clips import FIRST_SEED
from moonseg3r_core.types import Frame

ROOMS = "rooms"
_LAPS = (64, 200)  # frames of a walk round a room, of which a window is a part
_FAR = 3.0  # metres that a world is moved along each axis


@dataclass(frozen=True)
class Window:
    """Some adjacent frames of a scene, read while iterating; the rigid motion (4, 4) that its world is moved by.

    masks: the model that draws them, None for the configuration's own, which may read `masks_folder`. ids: the objects
    (H, W) of a frame's pixels by its index, where the scene knows them.
    """

    frames: Iterator[Frame]
    motion: Tensor
    masks: MaskModel | None = None
    masks_folder: Path | None = None
    ids: Callable[[int], Tensor] | None = None


class Scene(Protocol):
    """Something with windows, numbered 0, 1, ...: the same number gives the same window."""

    @property
    def name(self) -> str: ...

    def read_window(self, number: int, frames: int, stride: int) -> Window: ...


def find_scenes(data: Sequence[str], rooms: int, first: int = FIRST_SEED) -> list[Scene]:
    """The scenes of sources as `moonseg3r run` takes them, of folders of such, and, for the word `rooms`, as many
    procedural rooms, from seed `first` on. Raises SourceError for what is none of these.
    """
    found: list[Scene] = []
    for name in data:
        found += [RoomScene(first + n) for n in range(rooms)] if name == ROOMS else _find_recordings(name)
    if not found:
        raise InputError(
            f"data must hold a scene, got none in {', '.join(data) or 'nothing'}; for {ROOMS}, say how many in the recipe as scenes."
        )
    return found


def _find_recordings(name: str) -> list[Scene]:
    """The recording of that name, or those that a folder of recordings holds."""
    try:
        open_source(name)
        return [RecordingScene(name)]
    except SourceError:
        folder = Path(name)
        if not folder.is_dir():
            raise
        inside = [str(path) for path in sorted(folder.iterdir()) if _is_source(str(path))]
        if not inside:
            raise
        return [RecordingScene(path) for path in inside]


def _is_source(name: str) -> bool:
    try:
        open_source(name)
    except SourceError:
        return False
    return True


@dataclass(frozen=True)
class RecordingScene:
    """A source as `moonseg3r run` takes it."""

    name: str

    def read_window(self, number: int, frames: int, stride: int) -> Window:
        source = open_source(self.name, stride=stride)
        length = source.length if source.length is not None else sum(1 for _ in source)
        rng = np.random.default_rng((crc32(self.name.encode()), number, 31))
        start = int(rng.integers(max(length - frames, 0) + 1))
        return Window(islice(source, start, start + frames), sample_rigid_motion(rng), masks_folder=source.masks_folder)


@dataclass(frozen=True)
class RoomScene:
    """A procedural room of a seed, seen by cameras good and bad, with masks as a model's (`synthetic.degrade`)."""

    seed: int

    @property
    def name(self) -> str:
        return f"{ROOMS}:{self.seed}"

    def read_window(self, number: int, frames: int, stride: int) -> Window:
        rng = np.random.default_rng((self.seed, number, 37))
        lap = max(int(rng.integers(*_LAPS)), frames * stride)
        walked = SyntheticSequence(self.seed, lap, fov_degrees=float(rng.uniform(50, 80)))
        start = int(rng.integers(lap - (frames - 1) * stride))
        chosen = range(start, start + frames * stride, stride)[:frames]
        poor = rng.random() < 0.5
        drawn = (_degrade(walked[index], self.seed) if poor else walked[index] for index in chosen)
        masks = SimulatedMasks(walked.render_ids, self.seed)
        return Window(drawn, sample_rigid_motion(rng), masks=masks, ids=walked.render_ids)


def sample_rigid_motion(rng: np.random.Generator) -> Tensor:
    """A rotation of any direction and a translation of some metres, (4, 4) float64."""
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    motion[:3, 3] = torch.from_numpy(rng.uniform(-_FAR, _FAR, 3))
    return motion


def _degrade(frame: Frame, seed: int) -> Frame:
    """As a small color camera and a structured-light one give it."""
    assert frame.depth is not None
    image, depth = ImageNoise()(frame.image, seed, frame.index), DepthNoise()(frame.depth, seed, frame.index)
    return replace(frame, image=image, depth=depth)
