"""Anchors by time: what hangs on given poses follows when these are corrected."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle, quaternion_from_rotation, rotation_from_quaternion
from moonseg3r_core.reconstruction.key_views import MIN_MOVE, measure_moves
from moonseg3r_core.runtime.state import read_tensor
from moonseg3r_core.types import Corrections, TrajectoryMoves

SPACING_M, SPACING_DEG = 0.1, 5.0  # from one anchor to the next
DEPTH = 3.0  # metres, of what a view sees
_TURN_M = 1.0  # metres of way that a turn of one radian counts as


class TimedAnchors:
    """Hangs each frame on the last anchor, and moves the anchors as the poses of their time are corrected."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all anchors."""
        self._stamps: list[float] = []
        self._poses: list[Tensor] = []
        self._told: list[Tensor] = []  # where those who keep places have the anchors
        self._is_moved = False

    def follow(self, moves: TrajectoryMoves) -> None:
        """Move the anchors as the poses of their time were corrected."""
        if len(moves) and self._poses:
            stamps = torch.tensor(self._stamps, dtype=torch.float64)
            self._poses, self._is_moved = list(move_poses(stamps, torch.stack(self._poses), moves)), True

    def hang(self, stamp: float, world_from_camera: Tensor) -> tuple[int, Corrections]:
        """Return the anchor of a frame, and the corrections of anchors that moved by `MIN_MOVE` since they were told."""
        corrections = self._tell() if self._is_moved and self._poses else Corrections.empty()
        pose = world_from_camera.cpu()
        if not self._poses or _is_apart(self._poses[-1], pose):
            self._stamps.append(stamp)
            self._poses.append(pose)
            self._told.append(pose)
        return len(self._poses), corrections

    def _tell(self) -> Corrections:
        poses, told = torch.stack(self._poses), torch.stack(self._told)
        far = measure_moves(told, poses, torch.full((len(poses),), DEPTH, dtype=torch.float64)) > MIN_MOVE
        self._told, self._is_moved = list(torch.where(far[:, None, None], poses, told)), False
        return Corrections(1 + torch.nonzero(far)[:, 0], poses[far] @ torch.linalg.inv(told[far]))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the anchors: their stamps, where they are, and where they were told to be."""
        none = torch.zeros(0, 4, 4, dtype=torch.float64)
        poses, told = (torch.stack([*part]) if part else none for part in (self._poses, self._told))
        return {"stamps": torch.tensor(self._stamps, dtype=torch.float64), "poses": poses, "told": told}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; older files have none. Raises InputError for an incomplete state."""
        if not state:
            return self.reset()
        sizes: dict[str, int] = {}
        stamps = read_tensor(state, "stamps", ("n",), torch.float64, sizes).tolist()
        poses, told = (list(read_tensor(state, name, ("n", 4, 4), torch.float64, sizes)) for name in ("poses", "told"))
        self._stamps, self._poses, self._told, self._is_moved = stamps, poses, told, True


def move_poses(stamps: Tensor, poses: Tensor, moves: TrajectoryMoves) -> Tensor:
    """Move poses (n, 4, 4) of rising stamps (n,); before the first and after the last move, that one holds."""
    moved, ends = poses.clone(), torch.searchsorted(stamps, moves.stamps.contiguous()).tolist()
    moved[: ends[0]] = moves.new_from_old[0] @ poses[: ends[0]]
    moved[ends[-1] :] = moves.new_from_old[-1] @ poses[ends[-1] :]
    for row, (begin, end) in enumerate(pairwise(ends)):
        if begin < end:
            moved[begin:end] = bend(poses[begin:end], *moves.new_from_old[row : row + 2])
    return moved


def bend(poses: Tensor, first_move: Tensor, last_move: Tensor) -> Tensor:
    """Bend a way of poses (n, 4, 4) so that its first is moved by one transform (4, 4) and its last by another.

    Each step turns a little more, and what is then missing at the end is spread along the way.
    Source: Dubbelman and Browning, "COP-SLAM: Closed-Form Online Pose-Chain Optimization" (2015).
    """
    start, rest = first_move @ poses, last_move @ torch.linalg.inv(first_move)
    share = measure_way(poses)
    turns = turn_partly(rest[:3, :3], share)
    steps = turn_partly(rest[:3, :3], (share[1:] + share[:-1]) / 2) @ start[:, :3, 3].diff(dim=0)[..., None]
    places = start[0, :3, 3] + torch.cat((steps.new_zeros(1, 3), steps[..., 0].cumsum(0)))
    missing = rest[:3, :3] @ start[-1, :3, 3] + rest[:3, 3] - places[-1]
    bent = start.clone()
    bent[:, :3, :3] = turns @ start[:, :3, :3]
    bent[:, :3, 3] = places + share[:, None] * missing
    return bent


def measure_way(poses: Tensor) -> Tensor:
    """Measure the share (n,) of the way that is behind each of poses (n, 4, 4), 1 at the last; turns count as way."""
    if len(poses) == 1:
        return torch.ones(1, dtype=poses.dtype)
    shifts = poses[:, :3, 3].diff(dim=0).norm(dim=1)
    turns = poses[:, :3, :3].diff(dim=0).flatten(1).norm(dim=1) / 2**0.5
    way = (shifts + _TURN_M * turns + 1e-9).cumsum(0)
    return torch.cat((way.new_zeros(1), way / way[-1]))


def turn_partly(rotation: Tensor, shares: Tensor) -> Tensor:
    """Return shares (n,) of a rotation (3, 3) about its axis: (n, 3, 3)."""
    whole = quaternion_from_rotation(rotation)
    half = torch.atan2(whole[:3].norm(), whole[3])
    axis = whole[:3] / whole[:3].norm().clamp(min=1e-12)
    return rotation_from_quaternion(
        torch.cat((axis * torch.sin(shares * half)[:, None], torch.cos(shares * half)[:, None]), 1)
    )


def _is_apart(a: Tensor, b: Tensor) -> bool:
    """Return whether two poses (4, 4) are far enough from each other for an anchor each."""
    return float((a[:3, 3] - b[:3, 3]).norm()) > SPACING_M or compute_rotation_angle(a, b) > SPACING_DEG
