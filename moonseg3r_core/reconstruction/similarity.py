"""A similarity: what carries points and cameras of one world, in its own unit, to another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """World = scale * rotation (3, 3) @ point + translation (3,), float64 on the CPU; the identity by default."""

    scale: float = 1.0
    rotation: Tensor = field(default_factory=lambda: torch.eye(3, dtype=torch.float64))
    translation: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def transform_pose(self, camera: Tensor) -> Tensor:
        """Transform a camera (4, 4) from the submap's world to the map's. The result is rigid."""
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = self.rotation @ camera[:3, :3]
        pose[:3, 3] = self.scale * self.rotation @ camera[:3, 3] + self.translation
        return pose

    def transform_points(self, points: Tensor) -> Tensor:
        """Transform points (..., 3) from the submap's world to the map's, in their own dtype and device."""
        return points @ (self.scale * self.rotation).T.to(points) + self.translation.to(points)
