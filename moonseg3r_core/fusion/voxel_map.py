"""The labelled map: per voxel a mean point, a mean color and the votes of ids."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.fusion.votes import VoteGrid
from moonseg3r_core.ops.voxels import grow_rows
from moonseg3r_core.runtime.state import State, cpu_copy, load_parts, prefix_states, read_tensor, require
from moonseg3r_core.types import Corrections

_ALL = slice(None)
FAR = 1e9  # metres; no map reaches as far


class VoxelMap:
    """A cloud thinned to one point per voxel of edge `voxel` metres."""

    def __init__(self, voxel: float, device: torch.device | str) -> None:
        self.votes = VoteGrid(voxel, device)
        # x y z r g b, observations, observations without a vote; float64, for sums over hours drift in float32
        self._sums = torch.zeros(0, 8, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.votes)

    def observe(self, points: Tensor, colors: Tensor, ids: Tensor, anchor: int = 0) -> None:
        """Add one frame's points (N, 3), colors (N, 3) uint8 and ids (N,) int64, 0 = unlabelled, of a key view."""
        self._add(self.votes.observe(points, ids, anchor), points, colors, 0.0)

    def extend(self, points: Tensor, colors: Tensor, anchor: int = 0) -> None:
        """Add points and colors of a frame without masks: they vote neither for an id nor for none."""
        ids = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        self._add(self.votes.observe(points, ids, anchor), points, colors, 1.0)

    def correct(self, corrections: Corrections) -> Tensor:
        """Place anew what hangs on key views that moved; return the voxel rows (n,) that it has then."""
        rows, moves = self.votes.find_moved(corrections)
        sums = self._sums[rows]
        sums[:, :3] = torch.einsum("nij,nj->ni", moves[:, :3], torch.cat((sums[:, :3], sums[:, 6:7]), dim=1))
        removal, new = self.votes.move(rows, sums[:, :3] / sums[:, 6:7])
        removal.apply(self._sums)
        self._sums = grow_rows(self._sums, len(self))
        self._sums.index_add_(0, new, sums)
        return new

    def _add(self, rows: Tensor, points: Tensor, colors: Tensor, voteless: float) -> None:
        self._sums = grow_rows(self._sums, len(self))
        one = torch.ones_like(points[:, :1])
        self._sums.index_add_(0, rows, torch.cat((points, colors.to(points), one, voteless * one), dim=1).double())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the votes, and the sums of observations in each voxel."""
        return {**prefix_states(votes=self.votes.state_dict()), "sums": cpu_copy(self._sums[: len(self)])}

    def load_state_dict(self, state: State) -> None:
        """Restore a saved map. Raises InputError for an incomplete state."""
        load_parts(state, votes=self.votes)
        sums = read_tensor(state, "sums", (len(self), 8), torch.float64, device=self._sums.device)
        observed, voteless = sums[:, 6], sums[:, 7]
        require(
            bool((sums[:, :3].abs() <= FAR * observed[:, None]).all()), f"sums must be of points within {FAR:.0e} m"
        )
        require(bool(((sums[:, 3:6] >= 0) & (sums[:, 3:6] <= 255 * observed[:, None])).all()), "sums must be of colors")
        require(
            bool(((observed >= 1) & (voteless >= 0) & (voteless <= observed)).all()), "sums must be of observations"
        )
        self._sums = sums

    def get_points(self, rows: Tensor | slice = _ALL) -> tuple[Tensor, Tensor]:
        """Return mean positions (N, 3) float32 and mean colors (N, 3) uint8 of voxel rows."""
        sums = self._sums[: len(self)][rows]
        means = sums[:, :6] / sums[:, 6:7].clamp(min=1)
        return means[:, :3].float(), means[:, 3:].round().to(torch.uint8)

    def get_labels(self, rows: Tensor | slice = _ALL) -> tuple[Tensor, Tensor]:
        """Return the winning id (N,) int32 of voxel rows, and its share (N,) float32 of the observations with a vote.

        The share may be too small where a voxel saw more ids than `VoteGrid` counts.
        """
        ids, votes = self.votes.find_winners(rows)
        observed, voteless = self._sums[: len(self), 6:][rows].unbind(1)
        return ids.int(), (votes / (observed - voteless).clamp(min=1)).float()
