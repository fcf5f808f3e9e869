"""CUT3R's losses as pure functions: confidence-weighted regression of points in both frames, and of the pose.

Sources: DUSt3R (Wang et al., 2024) section 3.3 for the confidence; CUT3R (Wang et al., 2025) section 3.4 for the pose.
Lengths are divided by the length of the clip: the mean distance of its true points from the first camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.geometry import quaternion_from_rotation

ALPHA = 0.2  # cost of low confidence: the best confidence of an error e is ALPHA / e
_SMOOTHING = 1e-3  # of a clip's length: a distance has no gradient at 0


@dataclass(frozen=True)
class Truth:
    """The truth of a batch of clips: points in the axes of each camera and of the first one (B, T, H, W, 3), where depth
    is known (B, T, H, W) bool, poses first_from_camera (B, T, 4, 4), length (B,) metres.
    """

    self_points: Tensor
    world_points: Tensor
    valid: Tensor
    poses: Tensor
    length: Tensor

    @classmethod
    def from_depth(cls, depth: Tensor, intrinsics: Tensor, world_from_camera: Tensor) -> Truth:
        """Compute the truth from depth (B, T, H, W) metres along z, 0 = unknown, intrinsics (B, 3, 3), poses (B, T, 4, 4)."""
        height, width = depth.shape[2:]
        u, v = torch.arange(width, device=depth.device), torch.arange(height, device=depth.device)
        k = intrinsics[:, None, None, None]
        x = (u[None, :] - k[..., 0, 2]) / k[..., 0, 0]
        y = (v[:, None] - k[..., 1, 2]) / k[..., 1, 1]
        rays = torch.stack(torch.broadcast_tensors(x, y, torch.ones_like(x)), dim=-1)
        self_points = rays * depth[..., None]
        poses = torch.linalg.inv(world_from_camera[:, :1]) @ world_from_camera
        rotated = torch.einsum("btij,bthwj->bthwi", poses[..., :3, :3], self_points)
        world_points = rotated + poses[:, :, None, None, :3, 3]
        valid = depth > 0
        distance = torch.where(valid, world_points.norm(dim=-1), 0.0).flatten(1).sum(1)
        length = distance / valid.flatten(1).sum(1).clamp(min=1)
        return cls(self_points, world_points, valid, poses, length.clamp(min=1e-3))


def compute_point_loss(points: Tensor, confidence: Tensor, truth: Tensor, valid: Tensor, length: Tensor) -> Tensor:
    """Compute the mean over valid points of c |p - p*| / length - ALPHA log c, ().

    points and truth (B, T, H, W, 3), confidence and valid (B, T, H, W), length (B,).
    """
    error = (points - truth).norm(dim=-1) / length[:, None, None, None]
    loss = confidence * error - ALPHA * confidence.log()
    return torch.where(valid, loss, 0.0).sum() / valid.sum().clamp(min=1)


def compute_pose_loss(pose: Tensor, truth: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean distances () of translations, over length, and of unit quaternions.

    pose (B, T, 7) tx ty tz qw qx qy qz, truth (B, T, 4, 4). A quaternion and its negative are the same rotation.
    """
    translation = (pose[..., :3] - truth[..., :3, 3]) / length[:, None, None]
    target = quaternion_from_rotation(truth[..., :3, :3])[..., [3, 0, 1, 2]]
    direct, negated = (pose[..., 3:] - target), (pose[..., 3:] + target)
    rotation = torch.minimum(_compute_length(direct), _compute_length(negated))
    return _compute_length(translation).mean(), rotation.mean()


def _compute_length(vectors: Tensor) -> Tensor:
    """Compute lengths of vectors (..., C), smooth at zero."""
    return (vectors.square().sum(-1) + _SMOOTHING**2).sqrt()
