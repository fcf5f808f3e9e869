"""The check of a pose that a recording or a robot gives."""

from __future__ import annotations

from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import find_rigid_fault


def check_rigid(pose: Tensor) -> None:
    """Raise FrameRejected for a world_from_camera (4, 4) that is no rigid pose."""
    if fault := find_rigid_fault(pose):
        raise FrameRejected(
            "unusable pose",
            f"the pose must be a rigid 4 x 4 world_from_camera matrix, but {fault}; "
            "leave such frames out or repair the trajectory.",
        )
