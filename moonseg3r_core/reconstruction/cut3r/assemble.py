"""A Geometry from the net's outputs: points in the map's world, all values finite."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.reconstruction.cut3r.inference import Inference
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.quality import find_confident
from moonseg3r_core.reconstruction.pose_source import PoseEstimate
from moonseg3r_core.reconstruction.positions import encode_point_positions
from moonseg3r_core.types import FeatureMap, Geometry, Held, PixelGrid


def place_world_points(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Place the world head's points (H, W, 3) by the submap's similarity. Returns them with their confidence (H, W)."""
    assert outputs.world_points is not None, "the world head is requested"
    assert outputs.world_confidence is not None, "it gives both"
    return place.submap.transform_points(outputs.world_points[0]), outputs.world_confidence[0]


def place_self_points(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Place the self head's points (H, W, 3) by scale and camera pose. Returns them with their confidence (H, W)."""
    return transform(outputs.self_points[0] * place.scale, place.world_from_camera), outputs.self_confidence[0]


def lift_self_depth(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Lift the self head's depth, scaled, along the camera's rays: points (H, W, 3) of the world, confidence (H, W)."""
    points_camera = unproject(outputs.self_points[0, ..., 2] * place.scale, intrinsics)
    confidence = outputs.self_confidence[0] if place.confidence is None else place.confidence
    return transform(points_camera, place.world_from_camera), confidence


def assemble_geometry(
    points: tuple[Tensor, Tensor], inference: Inference, place: PoseEstimate, grid: PixelGrid, intrinsics: Tensor,
    min_confidence: float,
) -> Geometry:  # fmt: skip
    """Assemble a frame's Geometry from points with their confidence; unconfident ones are dropped."""
    (world, confidence), outputs, tokens = points, inference.outputs, inference.tokens
    mask = find_confident(world, confidence, min_confidence)
    return Geometry(
        points=torch.where(mask[..., None], world, 0.0),
        confidence=torch.where(mask, confidence, 0.0),
        depth=extract_depth(outputs, min_confidence) * place.scale,
        world_from_camera=place.world_from_camera,
        intrinsics=intrinsics,
        grid=grid,
        features=FeatureMap(_replace_non_finite(outputs.features[0])),
        state_attention=None if outputs.attention is None else _replace_non_finite(outputs.attention[0]),
        image_features=FeatureMap(_replace_non_finite(tokens.features[0].float().unflatten(0, tokens.grid))),
    )


def extract_depth(outputs: Outputs, min_confidence: float) -> Tensor:
    """Extract the self head's depth (H, W), in units of the net; 0 where it is unconfident or behind the camera."""
    depth = outputs.self_points[0, ..., 2]
    mask = find_confident(depth[..., None], outputs.self_confidence[0], min_confidence) & (depth > 0)
    return torch.where(mask, depth, 0.0)


def make_held_geometry(
    pose: Tensor, held: Held, sizes: Cut3rSizes, attention: bool, grid: PixelGrid, intrinsics: Tensor
) -> Geometry:
    """Make the Geometry of a held frame: a pose and a reason, no points, and zero features of the usual width."""
    pixels = intrinsics.new_zeros(grid.height, grid.width)
    h, w = grid.height // PATCH, grid.width // PATCH
    return Geometry(
        points=pixels[..., None].repeat(1, 1, 3),
        confidence=pixels,
        depth=pixels.clone(),
        world_from_camera=pose,
        intrinsics=intrinsics,
        grid=grid,
        features=FeatureMap(intrinsics.new_zeros(h, w, sizes.dec_dim)),
        state_attention=intrinsics.new_zeros(sizes.state_size, h, w) if attention else None,
        image_features=FeatureMap(intrinsics.new_zeros(h, w, sizes.enc_dim)),
        held=held,
    )


def _replace_non_finite(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def keep_modulation(geometry: Geometry) -> Geometry:
    """Keep F3d as the net's tokens between decoder and world head (paper supplement B.2)."""
    return geometry


GEOMETRIC_FEATURES = {"modulation": keep_modulation, "positions": encode_point_positions}
