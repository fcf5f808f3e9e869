"""Jumps of map -> odom: how far the drift of odometry explains them, and which of the past moves then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from moonseg3r_core.types import TrajectoryMoves

JUMP_M, JUMP_DEG = 0.2, 5.0  # from one image to the next; less is an ordinary correction
# Odometry may drift by as much in a metre of way; a jump beyond it says that the camera was elsewhere all along.
DRIFT_SHARE, DRIFT_DEG = 0.2, 6.0


class Jump(NamedTuple):
    """A jump (4, 4) of the map frame's poses, metres at the camera, degrees, and the moves (in the map frame) that it makes."""

    new_from_old: np.ndarray
    metres: float
    degrees: float
    moves: TrajectoryMoves

    @property
    def is_drift(self) -> bool:
        """Whether the way since the last jump explains it, so that the past follows by degrees."""
        return len(self.moves) > 1

    def __str__(self) -> str:
        return f"{self.metres:.2f} m and {self.degrees:.1f} degrees"


class JumpFollower:
    """Follows map -> odom image by image."""

    def __init__(self) -> None:
        self._camera: np.ndarray | None = None  # odometry_from_camera
        self._since, self._way = 0.0, 0.0

    def follow(
        self, stamp: float, before: np.ndarray | None, after: np.ndarray, map_from_camera: np.ndarray
    ) -> Jump | None:
        """Return the jump of map_from_odometry (4, 4) before an image, None where there is none."""
        camera = np.linalg.inv(after) @ map_from_camera
        if self._camera is None or before is None:
            self._since, self._way = stamp, 0.0
        else:
            self._way += float(np.linalg.norm(camera[:3, 3] - self._camera[:3, 3]))
        self._camera = camera
        if before is None:
            return None
        new_from_old = after @ np.linalg.inv(before)
        metres, degrees = measure_move(new_from_old, map_from_camera)
        if metres < JUMP_M and degrees < JUMP_DEG:
            return None
        is_drift = metres <= DRIFT_SHARE * self._way and degrees <= DRIFT_DEG * self._way
        stamps = [self._since, stamp] if is_drift and self._since < stamp else [stamp]
        moves = np.stack([np.eye(4), new_from_old][-len(stamps) :])
        self._since, self._way = stamp, 0.0
        told = TrajectoryMoves(torch.tensor(stamps, dtype=torch.float64), torch.from_numpy(moves))
        return Jump(new_from_old, metres, degrees, told)


def measure_move(jump: np.ndarray, pose: np.ndarray) -> tuple[float, float]:
    """Measure how far a jump (4, 4) moved what now has this pose (4, 4): metres and degrees."""
    metres = np.linalg.norm(pose[:3, 3] - (np.linalg.inv(jump) @ pose)[:3, 3])
    cosine = np.clip((np.trace(jump[:3, :3]) - 1) / 2, -1, 1)
    return float(metres), float(np.degrees(np.arccos(cosine)))
