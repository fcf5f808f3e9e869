"""Smooth closed paths of a hand-held camera through the free space of a scene."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.interpolate import CubicSpline, interp1d
from skimage.graph import route_through_array
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.synthetic.layout import CELL, compute_free_plan, keep_largest
from moonseg3r_core.synthetic.scene import Scene

LAP = 240  # frames of one round, about; a longer walk has more rounds
_MARGINS = (0.45, 0.35, 0.28)  # metres kept from everything; the widest that leaves enough floor is taken
_STATIONS = (3, 4, 5, 6, 7)  # numbers of stations of the routes tried
_PACE = 0.07  # metres a frame; the route nearest to it is taken
_STEP = 0.01
_GAZE = 18  # frames from one gaze target to the next
_HEIGHTS = (1.2, 1.7)  # metres, the lowest and the highest camera


def walk(scene: Scene, frames: int, seed: int) -> list[Tensor]:
    """Sample `frames` poses world_from_camera (4, 4) float64, OpenCV axes, whose first and last are equal.

    The camera is 1.2 to 1.7 m above the floor and outside all objects. Raises InputError for no frames.
    """
    if frames < 1:
        raise InputError(f"a walk has 1 frame or more, got {frames}; give --frames 100, for example.")
    rng = np.random.default_rng((seed, scene.seed, 7))
    laps = max(1, round(frames / LAP))
    time = np.linspace(0, 1, frames)
    floor = _find_floor(scene)
    routes = [_plan_route(scene, floor, stations, rng) for stations in _STATIONS]
    route = min(routes, key=lambda r: abs(len(r) * _STEP - _PACE * frames / laps))
    plan = [np.interp(time * laps % 1, np.linspace(0, 1, len(route)), route[:, i]) for i in (0, 1)]
    where = np.stack((*plan, _sample_heights(time, rng)), -1)
    yaw, pitch = _plan_gaze(scene, where, max(3, round(frames / _GAZE)), rng)
    roll = np.deg2rad(1.5) * _sample_sway(time, rng, max(2, frames // 25))
    return [torch.from_numpy(_make_pose(p, *angles)) for p, *angles in zip(where, yaw, pitch, roll, strict=True)]


def _plan_route(scene: Scene, floor: tuple[np.ndarray, ...], stations: int, rng: np.random.Generator) -> np.ndarray:
    """Plan a closed, smooth route (n, 2) with even steps through random stations around the floor."""
    half = np.array(scene.size[:2]) / 2
    free, cost = floor
    rows, columns = np.nonzero(free)
    spots = np.stack((columns, rows), -1) * CELL + CELL / 2 - half
    middle = spots.mean(0)
    angles = np.arctan2(*(spots - middle).T[::-1])
    chosen = []
    for turn in rng.uniform(0, 2 * np.pi) + np.arange(stations) * 2 * np.pi / stations:
        away = np.abs((angles - turn + np.pi) % (2 * np.pi) - np.pi)
        near = np.argsort(away - 0.15 * np.linalg.norm(spots - middle, axis=-1))[: max(1, len(spots) // 40)]
        chosen.append(int(rng.choice(near)))
    cells = [(int(rows[s]), int(columns[s])) for s in chosen]
    steps: list[tuple[int, int]] = []
    for a, b in zip(cells, [*cells[1:], cells[0]], strict=True):
        steps += route_through_array(cost, a, b, fully_connected=True)[0][:-1]
    line = np.array([(c, r) for r, c in steps or cells[:1]]) * CELL + CELL / 2 - half
    return _resample_evenly(_smooth(line, free, half))


def _find_floor(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Find the free floor with the widest margin that leaves enough of it, and the cost of a step on each cell."""
    half_x, half_y = scene.size[0] / 2, scene.size[1] / 2
    for margin in _MARGINS:
        free = keep_largest(compute_free_plan(half_x, half_y, scene.blocks, margin))
        if free.sum() * CELL * CELL >= 0.14 * scene.size[0] * scene.size[1]:
            break
    if not free.any():
        raise InputError(f"the room of seed {scene.seed} leaves no floor to walk on; choose another seed.")
    clearance = ndimage.distance_transform_edt(free) * CELL
    return free, np.where(free, 1 + 0.3 / (clearance + 0.05), 1e6)


def _smooth(line: np.ndarray, free: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Smooth a closed line as much as it stays on the free floor."""
    for sigma in (12.0, 8.0, 5.0, 3.0, 1.5):
        round_line = ndimage.gaussian_filter1d(line, sigma, axis=0, mode="wrap")
        dense = _resample_evenly(round_line)
        cells = np.floor((dense + half) / CELL).astype(int)
        if free[cells[:, 1].clip(0, free.shape[0] - 1), cells[:, 0].clip(0, free.shape[1] - 1)].all():
            return round_line
    return line


def _resample_evenly(line: np.ndarray) -> np.ndarray:
    """Resample a closed line at steps of 1 cm or less; its last point is the first."""
    closed = np.concatenate((line, line[:1]))
    lengths = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=-1))))
    if lengths[-1] == 0:
        return closed[[0, -1]]
    return interp1d(lengths, closed, axis=0)(np.linspace(0, lengths[-1], int(lengths[-1] / _STEP) + 2))


def _sample_heights(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample the camera's heights (frames,): a base, a slow swing, the steps."""
    base, swing = rng.uniform(1.38, 1.52), rng.uniform(0.05, 0.12)
    steps = 0.012 * _sample_sway(time, rng, max(2, len(time) // 8))
    return (base + swing * _sample_sway(time, rng, 3) + steps).clip(*_HEIGHTS)


def _sample_sway(time: np.ndarray, rng: np.random.Generator, cycles: int) -> np.ndarray:
    """Sample a periodic wobble (frames,) in [-1, 1] of about `cycles` cycles."""
    waves = [np.sin(2 * np.pi * (max(1, cycles + k) * time + rng.random())) for k in (-1, 0, 1)]
    return np.mean(waves, axis=0)


def _plan_gaze(scene: Scene, where: np.ndarray, looks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Plan yaw and pitch (frames,) from target to target, those in view least first; the last target is the first."""
    at = np.linspace(0, len(where) - 1, looks + 1)
    targets = _compute_centers(scene)
    seen = np.zeros(len(targets))
    yaws, pitches = list[float](), list[float]()
    for index in at[:-1]:
        away = targets - where[round(index)]
        flat = np.hypot(away[:, 0], away[:, 1])
        yaw = np.arctan2(away[:, 1], away[:, 0])
        turn = np.abs((yaw - yaws[-1] + np.pi) % (2 * np.pi) - np.pi) if yaws else np.zeros(len(targets))
        unfit = seen + np.abs(flat - 2.2) + 1.1 * turn + 3.0 * (flat < 0.8) + 1.5 * (targets[:, 2] > 1.9)
        best = int(np.argmin(unfit + rng.uniform(0, 0.8, len(targets))))
        seen += 2.5 * np.exp(-np.square(np.linalg.norm(targets - targets[best], axis=-1) / 1.2))
        yaws.append(float(yaw[best]))
        pitches.append(float(np.arctan2(away[best, 2], max(flat[best], 0.8)).clip(-0.75, 0.1)))
    yaw_line = np.unwrap([*yaws, yaws[0]])
    keys = at / max(len(where) - 1, 1)
    time = np.linspace(0, 1, len(where))
    if len(where) == 1:
        return np.array(yaws[:1]), np.array(pitches[:1])
    whole = yaw_line[-1] - yaw_line[0]  # whole turns: the spline is periodic without them
    drift = yaw_line - whole * keys
    drift[-1] = drift[0]
    yaw = CubicSpline(keys, drift, bc_type="periodic")(time) + whole * time
    pitch = CubicSpline(keys, [*pitches, pitches[0]], bc_type="periodic")(time)
    shake = [0.006 * _sample_sway(time, rng, max(2, len(where) // 6)) for _ in range(2)]
    return yaw + shake[0], (pitch + shake[1]).clip(-0.95, 0.35)


def _compute_centers(scene: Scene) -> np.ndarray:
    """Compute the centers (n, 3) of all objects, or that of an empty room."""
    p = scene.primitives
    ids = p.object_id.numpy()
    if not len(ids):
        return np.array([[0.0, 0.0, 1.0]])
    centers = p.center.numpy().astype(np.float64)
    return np.array([centers[ids == number].mean(0) for number in np.unique(ids)])


def _make_pose(position: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Make the pose (4, 4) of a camera with these angles; roll is about its own axis."""
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((c * right + s * down, -s * right + c * down, forward), -1)
    pose[:3, 3] = position
    return pose
