"""The axes of camera frames, and the pose of the optical axes in a frame of other ones."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.sources.config import InputConfig

# frame_from_optical (3, 3): right, down and forward of the image, as the frame of that name has them.
FRAME_FROM_OPTICAL = {
    "optical": np.eye(3),
    "body": np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=np.float64),
    "opengl": np.diag([1.0, -1.0, -1.0]),
}


def convert_pose(pose: np.ndarray, input: InputConfig, axes: str = "optical") -> np.ndarray:
    """Return world_from_camera (4, 4) in metres with optical axes of a pose as `input` reads it.

    `axes` are those of the recording where `input` leaves them open. A pose that is not finite stays so.
    """
    if input.poses == "camera_from_world" and np.isfinite(pose).all() and np.linalg.det(pose) != 0:
        pose = np.linalg.inv(pose)
    converted = convert_axes(pose, axes if input.camera_axes == "auto" else input.camera_axes)
    converted[:3, 3] /= input.pose_scale
    return converted


def convert_axes(world_from_frame: np.ndarray, axes: str) -> np.ndarray:
    """Return world_from_camera (4, 4) with optical axes of a frame's pose; `auto` takes the frame as optical."""
    pose = world_from_frame.copy()
    if axes not in ("auto", "optical") and np.isfinite(pose).all():
        pose[:3, :3] = world_from_frame[:3, :3] @ FRAME_FROM_OPTICAL[axes]
    return pose
