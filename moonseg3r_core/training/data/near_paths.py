"""Camera paths near the top of a table, a bed or a cupboard, as of a hand that shows what stands there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moonseg3r_core.synthetic.scene import Scene
from moonseg3r_core.training.data.camera_paths import make_poses, sample_drift
from moonseg3r_core.training.data.supports import Support

_FREE = 0.15  # metres that the camera keeps from walls and furniture
_TRIES = 12
_LEAST_SIDE = 0.15  # metres, half a side of a top that is shown from near
_LARGEST_SIDE = 0.35  # metres, half a side of the part of it that is shown


def sample_near_path(
    scene: Scene, supports: list[Support], frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, Support] | None:
    """Sample poses world_from_camera (frames, 4, 4) that go around a part of one of the supports, and that part.

    The camera is 0.35 to 1.1 m away and looks down by 15 to 65 degrees. None where no path is found.
    """
    wide = [s for s in supports if min(s.half_x, s.half_y) > _LEAST_SIDE and 0.2 < s.z < 1.3]
    for _ in range(_TRIES if wide else 0):
        part = _sample_part(wide[int(rng.integers(len(wide)))], rng)
        poses = _orbit(part, frames, rng)
        if _is_clear(scene, poses[:, :3, 3]):
            return poses, part
    return None


def _sample_part(support: Support, rng: np.random.Generator) -> Support:
    """Sample a part of a support, 0.7 m wide at most."""
    half = np.array([support.half_x, support.half_y])
    off = rng.uniform(-0.6, 0.6, 2) * half
    half_x, half_y = np.minimum(half - np.abs(off), _LARGEST_SIDE)
    c, s = np.cos(support.yaw), np.sin(support.yaw)
    x, y = support.x + c * off[0] - s * off[1], support.y + s * off[0] + c * off[1]
    return replace(support, x=x, y=y, half_x=half_x, half_y=half_y)


def _orbit(support: Support, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Sample poses around the middle of a support."""
    azimuth = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(-2.0, 2.0), frames)
    down = np.deg2rad(rng.uniform(15, 65)) + 0.04 * sample_drift(frames, rng, 14)
    away = (rng.uniform(0.35, 1.1) * (1 + 0.06 * sample_drift(frames, rng, 14))).clip(0.3, 1.4)
    side = np.stack((np.cos(azimuth) * np.cos(down), np.sin(azimuth) * np.cos(down), np.sin(down)), -1)
    where = np.array([support.x, support.y, support.z + 0.05]) + away[:, None] * side
    aside = 0.06 * sample_drift(frames, rng, 12), 0.06 * sample_drift(frames, rng, 12)
    roll = np.deg2rad(rng.uniform(0, 8)) * sample_drift(frames, rng, 15)
    return make_poses(where, azimuth + np.pi + aside[0], -down + aside[1], roll)


def _is_clear(scene: Scene, where: np.ndarray) -> bool:
    """Tell whether places (F, 3) lie in the room and off all primitives, each taken as a ball or an upright box."""
    bound = np.array(scene.size) / 2 - _FREE
    if (np.abs(where - (0, 0, scene.size[2] / 2)) > bound).any():
        return False
    p = scene.primitives
    turn, half = p.rotation.numpy().astype(float), p.half.numpy().astype(float)
    local = np.einsum("pji,fpj->fpi", turn, where[:, None] - p.center.numpy().astype(float))
    off = np.linalg.norm(np.maximum(np.abs(local) - half, 0), axis=2)
    return bool(off.min() > _FREE) if off.size else True
