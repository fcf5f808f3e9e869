"""Random camera paths through a furnished room, as of handheld cameras and robots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from moonseg3r_core.synthetic.layout import CELL, compute_free_plan, keep_largest
from moonseg3r_core.synthetic.scene import Scene

_MARGINS = (0.35, 0.25, 0.15)  # metres to the furniture; the widest that leaves some floor is used
_MAX_TURN = np.deg2rad(9.0)  # greatest turn of the view from one frame to the next
Gaze = Callable[[Scene, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def sample_camera_path(scene: Scene, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Sample poses world_from_camera (frames, 4, 4) float64, OpenCV axes, of a smooth path that avoids the furniture.

    Speed (1 to 15 cm a frame), height (0.4 to 1.9 m), gaze, tilt and tremble are random.
    """
    plan = _sample_positions(scene, frames, float(np.exp(rng.uniform(np.log(0.01), np.log(0.15)))), rng)
    height = np.clip(rng.uniform(0.4, 1.75) + rng.uniform(0.0, 0.15) * sample_drift(frames, rng, 12), 0.3, 1.95)
    where = np.concatenate((plan, height[:, None]), axis=-1)
    yaw, pitch = _GAZES[int(rng.integers(len(_GAZES)))](scene, where, rng)
    yaw, pitch = _limit_turns(yaw), _limit_turns(pitch).clip(-1.2, 0.6)
    roll = np.deg2rad(rng.uniform(0, 5)) * sample_drift(frames, rng, 15)
    tremble = np.deg2rad(rng.uniform(0, 0.6)) * rng.normal(size=(2, frames))
    return make_poses(where, yaw + tremble[0], pitch + tremble[1], roll)


def sample_drift(frames: int, rng: np.random.Generator, period: float) -> np.ndarray:
    """Sample (frames,) smooth noise of unit variance that changes over about `period` frames."""
    pad = int(3 * period) + 1
    noise = ndimage.gaussian_filter1d(rng.normal(size=frames + 2 * pad), period / 2)[pad : pad + frames]
    return noise * np.sqrt(period * np.sqrt(np.pi))


def make_poses(where: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Make poses (F, 4, 4) of cameras at (F, 3) that look along yaw and pitch, rolled about the optical axis."""
    zero = np.zeros_like(yaw)
    forward = np.stack((np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)), -1)
    right = np.stack((np.sin(yaw), -np.cos(yaw), zero), -1)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    poses = np.tile(np.eye(4), (len(yaw), 1, 1))
    poses[:, :3, :3] = np.stack((c * right + s * down, -s * right + c * down, forward), -1)
    poses[:, :3, 3] = where
    return poses


def _sample_positions(scene: Scene, frames: int, pace: float, rng: np.random.Generator) -> np.ndarray:
    """Sample (frames, 2) positions on the free floor: the heading drifts, and turns aside before an obstacle."""
    half = np.array(scene.size[:2]) / 2
    free = _find_floor(scene, half)
    rows, columns = np.nonzero(free)
    start = int(rng.integers(len(rows)))
    at = np.array([columns[start], rows[start]]) * CELL + CELL / 2 - half
    heading, swing = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.2) * sample_drift(frames, rng, 6)
    side, places = float(rng.choice([-1, 1])), []
    for turn in swing:
        heading += turn
        for aside in np.arange(0, 2 * np.pi, 0.25):
            there = at + pace * np.array([np.cos(heading + side * aside), np.sin(heading + side * aside)])
            column, row = np.floor((there + half) / CELL).astype(int).clip(0, np.array(free.shape[::-1]) - 1)
            if free[row, column]:
                at, heading = there, heading + side * aside
                break
        places.append(at)
    return ndimage.gaussian_filter1d(np.array(places), 2.0, axis=0, mode="nearest")


def _find_floor(scene: Scene, half: np.ndarray) -> np.ndarray:
    """The cells (5 cm) of the floor where a camera may be; the middle of a room without any."""
    for margin in _MARGINS:
        free = keep_largest(compute_free_plan(half[0], half[1], scene.blocks, margin))
        if free.sum() * CELL * CELL > 1.0:
            return free
    free[free.shape[0] // 2, free.shape[1] // 2] = True
    return free


def _limit_turns(angle: np.ndarray) -> np.ndarray:
    """Limit the changes of angles (F,) to `_MAX_TURN` a frame and smooth them."""
    steps = np.clip(np.diff(np.unwrap(angle)), -_MAX_TURN, _MAX_TURN)
    return ndimage.gaussian_filter1d(np.concatenate((angle[:1], angle[0] + np.cumsum(steps))), 1.5, mode="nearest")


def _look_ahead(scene: Scene, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch along the path, or at a fixed angle to it, as of a robot."""
    steps = np.gradient(where[:, :2], axis=0)
    aside = rng.choice([0, 0, np.pi / 2, -np.pi / 2, np.pi]) + rng.normal(0, 0.3)
    pitch = np.full(len(where), rng.uniform(-0.6, 0.1)) + 0.05 * sample_drift(len(where), rng, 10)
    return np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])) + aside, pitch


def _turn_around(scene: Scene, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch of a camera that turns around at a varying rate."""
    rate = np.deg2rad(rng.uniform(-5, 5)) + np.deg2rad(rng.uniform(0, 3)) * sample_drift(len(where), rng, 12)
    pitch = rng.uniform(-0.7, 0.15) + rng.uniform(0, 0.25) * sample_drift(len(where), rng, 14)
    return rng.uniform(0, 2 * np.pi) + np.cumsum(rate), pitch


def _look_at_objects(scene: Scene, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch towards one object after another, some frames each."""
    centers = scene.primitives.center.numpy().astype(np.float64)
    if not len(centers):
        return _turn_around(scene, where, rng)
    stay = int(rng.integers(10, 40))
    chosen = centers[rng.integers(len(centers), size=len(where) // stay + 2)]
    target = np.repeat(chosen, stay, axis=0)[int(rng.integers(stay)) :][: len(where)]
    return _compute_angles(where, ndimage.gaussian_filter1d(target, stay / 5, axis=0, mode="nearest"))


def _look_at_place(scene: Scene, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch towards one place in the room, as on a walk around a table."""
    half = np.array(scene.size[:2]) / 2
    target = np.array([*rng.uniform(-0.6, 0.6, 2) * half, rng.uniform(0.2, 1.2)])
    return _compute_angles(where, np.tile(target, (len(where), 1)))


def _compute_angles(where: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    away = target - where
    flat = np.hypot(away[:, 0], away[:, 1])
    return np.unwrap(np.arctan2(away[:, 1], away[:, 0])), np.arctan2(away[:, 2], flat.clip(0.6))


_GAZES: tuple[Gaze, ...] = (_look_ahead, _turn_around, _look_at_objects, _look_at_objects, _look_at_place)
