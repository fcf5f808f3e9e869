"""Clips of a camera in a procedural room, rendered on demand and never stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from moonseg3r_core.synthetic import Renderer, furnish, walk
from moonseg3r_core.synthetic.scene import Scene
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data.camera_paths import sample_camera_path

FIRST_SEED = 1_000_000  # rooms of lower seeds are held out
FIRST_HELD_OUT_SEED = 500_000  # tests and the demo use lower seeds
_WALKS = 0.25  # share of clips along a walk of `synthetic`, as of the demo
_LAPS = (120, 360)  # frames of such a walk, of which a clip is a part


@dataclass(frozen=True)
class Clip:
    """Frames of one camera in one room: images (F, H, W, 3) uint8, depth (F, H, W) float16 metres along z, poses
    world_from_camera (F, 4, 4) float32, intrinsics (3, 3) float32.
    """

    images: Tensor
    depth: Tensor
    poses: Tensor
    intrinsics: Tensor


def make_clip(seed: int, frames: int, height: int, width: int, device: torch.device | str = "cpu") -> Clip:
    """Render the clip of a seed: room, path and horizontal field of view (50 to 90 degrees)."""
    rng = np.random.default_rng((seed, 23))
    scene = furnish(seed)
    poses = _sample_walk(scene, frames, rng) if rng.random() < _WALKS else sample_camera_path(scene, frames, rng)
    intrinsics = make_intrinsics(height, width, float(rng.uniform(50, 90)))
    world_from_camera = torch.from_numpy(poses).float()
    renderer = Renderer(scene, torch.device(device))
    images, depths = [], []
    for pose in world_from_camera:
        image, depth, _ = renderer(intrinsics, pose, height, width)
        images.append(image)
        depths.append(depth.half())
    return Clip(torch.stack(images), torch.stack(depths), world_from_camera, intrinsics)


class Clips(Dataset[Clip]):
    """The clips of a run's seed (0 to 999), without end; rank r of `ranks` has those numbered r, r + ranks, ..."""

    def __init__(self, seed: int, frames: int, size: tuple[int, int], rank: int = 0, ranks: int = 1) -> None:
        self.first, self.frames, self.size = FIRST_SEED * (1 + seed) + rank, frames, size
        self.ranks = ranks

    def __getitem__(self, number: int) -> Clip:
        return make_clip(self.first + number * self.ranks, self.frames, *self.size)


def mix_seeds(*numbers: int) -> int:
    """Mix several seeds into one."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def _sample_walk(scene: Scene, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Sample a part of a walk around the room."""
    lap = int(rng.integers(*_LAPS))
    poses = np.stack([pose.numpy() for pose in walk(scene, max(lap, frames), int(rng.integers(1 << 31)))])
    start = int(rng.integers(len(poses) - frames + 1))
    return poses[start : start + frames]
