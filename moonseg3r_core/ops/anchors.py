"""What hangs on key views: which of it moved, and where it lies now."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moonseg3r_core.runtime.state import State, are_within, read_tensor, require
from moonseg3r_core.types import Corrections

_MOST = 1 << 31  # key views


def find_moved(anchors: Tensor, corrections: Corrections) -> tuple[Tensor, Tensor]:
    """Find the rows (n,), rising, of anchors (N,) int64 that moved, and the new_from_old (n, 4, 4) of each."""
    end = int(corrections.anchors.max()) + 1 if len(corrections) else 0
    place = torch.full((end + 1,), -1, dtype=torch.int64, device=anchors.device)
    place[corrections.anchors.to(anchors.device)] = torch.arange(len(corrections), device=anchors.device)
    places = place[anchors.clamp(max=end)]
    rows = torch.nonzero(places >= 0)[:, 0]
    return rows, corrections.new_from_old.to(anchors.device)[places[rows]]


def move_points(points: Tensor, new_from_old: Tensor) -> Tensor:
    """Move points (n, 3), each by its own transform (n, 4, 4) float64, and return them in their own dtype."""
    moved = torch.einsum("nij,nj->ni", new_from_old[:, :3, :3], points.double()) + new_from_old[:, :3, 3]
    return moved.to(points)


def move_poses(poses: Sequence[Tensor], anchors: Sequence[int], corrections: Corrections) -> list[Tensor]:
    """Move poses (4, 4) float64 that hang on key views; they stay rigid where a similarity scales what they see."""
    moves = dict(zip(corrections.anchors.tolist(), corrections.new_from_old, strict=True))
    return [
        _make_rigid(moves[anchor] @ pose) if anchor in moves else pose
        for pose, anchor in zip(poses, anchors, strict=True)
    ]


def _make_rigid(pose: Tensor) -> Tensor:
    rigid = pose.clone()
    rigid[:3, :3] /= torch.linalg.det(pose[:3, :3]).pow(1 / 3)
    return rigid


def read_anchors(state: State, rows: int, device: torch.device | str = "cpu") -> Tensor:
    """Read the anchors (rows,) of a saved state; 0 from a file that is older than key views. Raises InputError."""
    if "anchors" not in state:
        return torch.zeros(rows, dtype=torch.int64, device=device)
    anchors = read_tensor(state, "anchors", (rows,), device=device)
    require(are_within(anchors, 0, _MOST), f"anchors must be from 0 to {_MOST - 1}")
    return anchors
