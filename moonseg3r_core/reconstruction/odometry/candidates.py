"""Points of the world that images show, with what is needed to find them in another image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.ops.xfeat import XFEAT_SIZE
from moonseg3r_core.reconstruction.odometry.absolute_pose import Sightings
from moonseg3r_core.reconstruction.odometry.features import read_descriptors
from moonseg3r_core.runtime.state import read_tensor

NO_LANDMARK = -1


@dataclass(frozen=True)
class Candidates:
    """Points of the world that images show, one row for each image of a point.

    points (k, 3); centres (k, 3) of the cameras that show them; sigmas (k,) of the logs of their distances; descriptors
    (k, d); landmarks (k,), NO_LANDMARK for a point of the last frame alone; views (k,): numbers that tell the images apart.
    """

    points: np.ndarray
    centres: np.ndarray
    sigmas: np.ndarray
    descriptors: np.ndarray
    landmarks: np.ndarray
    views: np.ndarray

    def project(self, camera: np.ndarray) -> np.ndarray:
        """Project the points by camera_from_world (4, 4): rays (k, 2), infinite for points behind it."""
        own = self.points @ camera[:3, :3].T + camera[:3, 3]
        return np.where(own[:, 2:] > 0, own[:, :2] / np.maximum(own[:, 2:], 1e-9), np.inf)

    def see(self, rows: np.ndarray, rays: np.ndarray) -> Sightings:
        """Return some points as they are seen on rays (n, 2)."""
        return Sightings(self.points[rows], rays, self.centres[rows], self.sigmas[rows])

    @classmethod
    def empty(cls) -> Candidates:
        """Make candidates without points."""
        none = np.zeros(0, np.int64)
        return cls(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, XFEAT_SIZE), np.float16), none, none)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all parts."""
        return {name: torch.from_numpy(np.array(part)) for name, part in vars(self).items()}

    @classmethod
    def read(cls, state: Mapping[str, Tensor]) -> Candidates:
        """Read what `state_dict` returned. Raises InputError for an incomplete state."""
        points = read_tensor(state, "points", ("candidates", 3), torch.float64)
        count = len(points)
        return cls(
            points.numpy(),
            read_tensor(state, "centres", (count, 3), torch.float64).numpy(),
            read_tensor(state, "sigmas", (count,), torch.float64).numpy(),
            read_descriptors(state, count),
            read_tensor(state, "landmarks", (count,)).numpy(),
            read_tensor(state, "views", (count,)).numpy(),
        )
