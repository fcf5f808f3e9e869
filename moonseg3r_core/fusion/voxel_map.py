"""The labelled map that is shown and saved: per voxel a mean point, a mean color and the votes of ids."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.fusion.votes import VoteGrid
from moonseg3r_core.state import State, gathered, load_parts, plain, take
from moonseg3r_core.voxels import grown

_ALL = slice(None)


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

    def state_dict(self) -> dict[str, Tensor]:
        """The votes, and the sums of what was seen in each voxel."""
        return {**gathered(votes=self.votes.state_dict()), "sums": plain(self._sums[: len(self)])}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` gave."""
        load_parts(state, votes=self.votes)
        self._sums = take(state, "sums", (len(self), 7), torch.float64, device=self._sums.device)

    def points(self, rows: Tensor | slice = _ALL) -> tuple[Tensor, Tensor]:
        """Mean positions (N, 3) float32 and mean colors (N, 3) uint8 of voxel rows."""
        sums = self._sums[: len(self)][rows]
        means = sums[:, :6] / sums[:, 6:].clamp(min=1)
        return means[:, :3].float(), means[:, 3:].round().to(torch.uint8)

    def labels(self, rows: Tensor | slice = _ALL) -> tuple[Tensor, Tensor]:
        """The id (N,) int32 of voxel rows and the share (N,) float32 of its observations that voted for it (a vote may be
        missing where more ids than `VoteGrid` counts contend).
        """
        ids, votes = self.votes.leaders(rows)
        return ids.int(), (votes / self._sums[: len(self), 6][rows].clamp(min=1)).float()
