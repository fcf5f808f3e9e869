"""Paths that a SLAM package corrects (nav_msgs/Path): how each new one moves what was seen along the one before."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from moonseg3r_core.sources.messages import read_pose
from moonseg3r_core.sources.transforms import TransformError, clean_frame
from moonseg3r_core.types import TrajectoryMoves

MIN_MOVE = 1e-4  # of a number of a pose; a path that is only longer moves nothing


class PathFollower:
    """Keeps the newest path; poses at stamps that it shares with the one before tell how the past moved.

    The robot's pose or the camera's will do, because both move alike. What came after the last shared stamp moves with it.
    frame: in which the path lies, None before the first.
    """

    def __init__(self) -> None:
        self.frame: str | None = None
        self._told: dict[float, np.ndarray] = {}  # poses (4, 4) by stamp, as of the last moves
        self._newest: dict[float, np.ndarray] = {}

    def add(self, message: Any) -> None:
        """Add a nav_msgs/Path. Raises TransformError for poses without rotation, finite numbers or stamps of their own."""
        poses = [read_pose(pose, 0.0)[2:] for pose in message.poses]
        newest = {stamp: pose for stamp, pose in poses if stamp > 0}
        if len(newest) < min(len(poses), 2):
            raise TransformError(f"its poses must have stamps of their own, got {len(newest)} for {len(poses)} poses")
        self.frame, self._newest = clean_frame(message.header.frame_id), newest

    def take_moves(self) -> TrajectoryMoves:
        """Return how the past moved since the last call."""
        told, self._told = self._told, self._newest
        shared = sorted(told.keys() & self._newest.keys()) if told is not self._newest else []
        moves = [self._newest[stamp] @ np.linalg.inv(told[stamp]) for stamp in shared]
        if all(np.abs(move - np.eye(4)).max() < MIN_MOVE for move in moves):
            return TrajectoryMoves.empty()
        return TrajectoryMoves(torch.tensor(shared, dtype=torch.float64), torch.from_numpy(np.stack(moves)))
