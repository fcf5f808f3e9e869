"""Pure geometry on tensors: cameras, poses, boxes, similarity alignment. Metres; OpenCV camera axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Unproject depth (H, W) along z with intrinsics (3, 3) to camera points (H, W, 3); pixel i's centre is u = i."""
    height, width = depth.shape
    u = torch.arange(width, device=depth.device, dtype=depth.dtype)
    v = torch.arange(height, device=depth.device, dtype=depth.dtype)
    fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    x = (u[None, :] - cx) / fx * depth
    y = (v[:, None] - cy) / fy * depth
    return torch.stack((x, y, depth), dim=-1)


def transform(points: Tensor, target_from_source: Tensor) -> Tensor:
    """Transform points (..., 3) by a pose (4, 4), in the points' own dtype and device."""
    pose = target_from_source.to(points)
    return points @ pose[:3, :3].T + pose[:3, 3]


def invert(pose: Tensor) -> Tensor:
    """Invert a rigid pose (4, 4)."""
    inverse = torch.eye(4, dtype=pose.dtype, device=pose.device)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def project(points_camera: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Project camera points (N, 3) to pixels (N, 2) and depths z (N,); a point at or behind the camera gets NaN pixels."""
    z = points_camera[:, 2]
    k = intrinsics.to(points_camera)
    u = k[0, 0] * points_camera[:, 0] / z + k[0, 2]
    v = k[1, 1] * points_camera[:, 1] / z + k[1, 2]
    pixels = torch.stack((u, v), dim=-1)
    return torch.where(z[:, None] > 0, pixels, torch.nan), z


def find_rigid_fault(pose: Tensor, tolerance: float = 1e-3) -> str | None:
    """Return why a matrix (4, 4) is no rigid pose, in words, or None when it is one."""
    pose = pose.double()
    if not bool(torch.isfinite(pose).all()):
        return "it holds NaN or infinite values"
    rotation = pose[:3, :3]
    off = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64, device=pose.device)).abs().max())
    if off > tolerance:
        return f"its rotation is off orthonormal by {off:.2g}"
    if float(torch.linalg.det(rotation)) < 0:
        return "its rotation mirrors"
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64, device=pose.device)
    if float((pose[3] - last).abs().max()) > tolerance:
        return "its last row is not 0 0 0 1"
    return None


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the volume IoU (A, B) of axis-aligned boxes a (A, 2, 3) and b (B, 2, 3); NaN boxes and no volume give 0."""
    low = torch.maximum(a[:, None, 0], b[None, :, 0])
    high = torch.minimum(a[:, None, 1], b[None, :, 1])
    shared = (high - low).clamp(min=0).prod(-1)
    volume_a = (a[:, 1] - a[:, 0]).clamp(min=0).prod(-1)
    volume_b = (b[:, 1] - b[:, 0]).clamp(min=0).prod(-1)
    union = volume_a[:, None] + volume_b[None, :] - shared
    return torch.nan_to_num(torch.where(union > 0, shared / union, 0.0), nan=0.0)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Compute the cosine similarity (A, B) of rows a (A, D) and b (B, D); 0 for a zero row."""
    return torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).T


def align_similarity(source: Tensor, target: Tensor) -> tuple[float, Tensor, Tensor]:
    """Align source to target by least squares: scale, rotation (3, 3) and translation (3,) (Umeyama 1991).

    target ~ scale * R @ source + t; source, target (N, 3), N >= 1. Fewer than three distinct positions leave the rotation
    ambiguous: one of the best is returned.
    """
    source, target = source.double(), target.double()
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = torch.linalg.svd(t.T @ s / len(source))
    sign = torch.ones(3, dtype=torch.float64, device=source.device)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    variance = float(s.square().sum() / len(source))
    scale = float((d * sign).sum()) / variance if variance > 0 else 1.0
    return scale, rotation, mean_t - scale * rotation @ mean_s


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Convert rotation matrices (..., 3, 3) to unit quaternions (..., 4), x y z w, with w >= 0."""
    r = rotation
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    # The symmetric 4 x 4 matrix whose rows are all multiples of the quaternion: 4 q q^T; its longest row is the safest.
    x = torch.stack((1 + xx - yy - zz, r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 2, 1] - r[..., 1, 2]), -1)  # fmt: skip
    y = torch.stack((x[..., 1], 1 - xx + yy - zz, r[..., 1, 2] + r[..., 2, 1], r[..., 0, 2] - r[..., 2, 0]), -1)
    z = torch.stack((x[..., 2], y[..., 2], 1 - xx - yy + zz, r[..., 1, 0] - r[..., 0, 1]), -1)
    w = torch.stack((x[..., 3], y[..., 3], z[..., 3], 1 + xx + yy + zz), -1)
    rows = torch.stack((x, y, z, w), dim=-2)
    best = rows.norm(dim=-1).argmax(-1)[..., None, None].expand(*rows.shape[:-2], 1, 4)
    quaternion = torch.nn.functional.normalize(rows.gather(-2, best)[..., 0, :], dim=-1)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Convert quaternions (..., 4), x y z w, of any length above 0, to rotation matrices (..., 3, 3)."""
    x, y, z, w = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def compute_rotation_angle(a: Tensor, b: Tensor) -> float:
    """Compute the degrees between the rotations of two poses (4, 4), by the chord, which is exact for small angles too."""
    chord = float((a[:3, :3] - b[:3, :3]).norm()) / math.sqrt(8)
    return math.degrees(2 * math.asin(min(chord, 1.0)))
