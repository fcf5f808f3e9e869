"""The labelled map that is shown and saved: per voxel a mean point, a mean color and the votes of ids."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.fusion.votes import VoteGrid
from moonseg3r_core.voxels import grown


class VoxelMap:
    """A cloud thinned to one point per voxel of edge `voxel` metres."""

    def __init__(self, voxel: float, device: torch.device | str = "cpu") -> None:
        self.votes = VoteGrid(voxel, device)
        # x y z r g b, observations; in float64, for sums over hours in float32 would creep
        self._sums = torch.zeros(0, 7, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.votes)

    def observe(self, points: Tensor, colors: Tensor, ids: Tensor) -> None:
        """Take in one frame's points (N, 3), colors (N, 3) uint8 and ids (N,) int64, 0 = unlabelled."""
        rows = self.votes.observe(points, ids)
        self._sums = grown(self._sums, len(self))
        seen = torch.cat((points, colors.to(points), torch.ones_like(points[:, :1])), dim=1)
        self._sums.index_add_(0, rows, seen.double())

    def points(self) -> tuple[Tensor, Tensor]:
        """Mean positions (N, 3) float32 and mean colors (N, 3) uint8 of all voxels."""
        sums = self._sums[: len(self)]
        means = sums[:, :6] / sums[:, 6:].clamp(min=1)
        return means[:, :3].float(), means[:, 3:].round().clamp(0, 255).to(torch.uint8)

    def labels(self) -> tuple[Tensor, Tensor]:
        """The id (N,) int32 of every voxel and the share (N,) float32 of its observations that voted for it (a vote may be
        missing where more ids than `VoteGrid` counts contend).
        """
        ids, votes = self.votes.leaders(slice(len(self)))
        return ids.int(), (votes / self._sums[: len(self), 6].clamp(min=1)).float()
