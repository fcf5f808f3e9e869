"""The scenes that queries are trained on: recordings and procedural rooms, each with windows of frames."""

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
_LAPS = (64, 200)  # frames of a walk around a room, of which a window is a part
_MAX_SHIFT = 3.0  # metres: greatest shift of the world along an axis


@dataclass(frozen=True)
class Window:
    """Adjacent frames of a scene, read while iterating, and the rigid motion (4, 4) to apply to its world.

    masks: mask model, None for the configuration's own, which may read `masks_folder`. ids: object ids (H, W) of a frame
    by its index, None for a scene without.
    """

    frames: Iterator[Frame]
    motion: Tensor
    masks: MaskModel | None = None
    masks_folder: Path | None = None
    ids: Callable[[int], Tensor] | None = None


class Scene(Protocol):
    """A source of windows numbered 0, 1, ...: equal numbers give equal windows."""

    @property
    def name(self) -> str: ...

    def read_window(self, number: int, frames: int, stride: int) -> Window: ...


def find_scenes(data: Sequence[str], rooms: int, first: int = FIRST_SEED) -> list[Scene]:
    """Find the scenes of sources of `moonseg3r run`, of folders of such, and of the word `rooms`.

    rooms: number of procedural rooms, from seed `first` on. Raises SourceError for other names.
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
    """Find the recording of a name, or the recordings in a folder."""
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
    """A source of `moonseg3r run`."""

    name: str

    def read_window(self, number: int, frames: int, stride: int) -> Window:
        source = open_source(self.name, stride=stride)
        length = source.length if source.length is not None else sum(1 for _ in source)
        rng = np.random.default_rng((crc32(self.name.encode()), number, 31))
        start = int(rng.integers(max(length - frames, 0) + 1))
        return Window(islice(source, start, start + frames), sample_rigid_motion(rng), masks_folder=source.masks_folder)


@dataclass(frozen=True)
class RoomScene:
    """A procedural room with exact or degraded cameras, and masks with a model's errors (`synthetic.degrade`)."""

    seed: int

    @property
    def name(self) -> str:
        return f"{ROOMS}:{self.seed}"

    def read_window(self, number: int, frames: int, stride: int) -> Window:
        rng = np.random.default_rng((self.seed, number, 37))
        lap = max(int(rng.integers(*_LAPS)), frames * stride)
        sequence = SyntheticSequence(self.seed, lap, fov_degrees=float(rng.uniform(50, 80)))
        start = int(rng.integers(lap - (frames - 1) * stride))
        chosen = range(start, start + frames * stride, stride)[:frames]
        noisy = rng.random() < 0.5
        frames_read = (_degrade(sequence[index], self.seed) if noisy else sequence[index] for index in chosen)
        masks = SimulatedMasks(sequence.render_ids, self.seed)
        return Window(frames_read, sample_rigid_motion(rng), masks=masks, ids=sequence.render_ids)


def sample_rigid_motion(rng: np.random.Generator) -> Tensor:
    """Sample a rotation and a translation of some metres, (4, 4) float64."""
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    motion[:3, 3] = torch.from_numpy(rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 3))
    return motion


def _degrade(frame: Frame, seed: int) -> Frame:
    """Add the noise of a small color camera and of a structured-light depth camera."""
    assert frame.depth is not None
    image, depth = ImageNoise()(frame.image, seed, frame.index), DepthNoise()(frame.depth, seed, frame.index)
    return replace(frame, image=image, depth=depth)
