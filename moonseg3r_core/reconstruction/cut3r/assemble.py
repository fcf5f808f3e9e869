"""From the net's outputs to a Geometry: points in the map's world, and nothing that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.reconstruction.cut3r.inference import Inference
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.pose_source import PoseEstimate
from moonseg3r_core.reconstruction.cut3r.quality import find_confident
from moonseg3r_core.types import FeatureMap, Geometry, Held, PixelGrid


def place_world_points(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """The world head's points (H, W, 3), moved as the chunk lies, and their confidence (H, W)."""
    assert outputs.world_points is not None, "the world head is asked for"
    assert outputs.world_confidence is not None, "it gives both"
    return place.chunk.points(outputs.world_points[0]), outputs.world_confidence[0]


def place_self_points(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """The self head's points (H, W, 3), scaled and carried by the camera's pose, and their confidence (H, W)."""
    return transform(outputs.self_points[0] * place.scale, place.world_from_camera), outputs.self_confidence[0]


def lift_self_depth(outputs: Outputs, place: PoseEstimate, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """The self head's depth, scaled and lifted along the camera's rays, as points of the world (H, W, 3), and their
    confidence (H, W).
    """
    own = unproject(outputs.self_points[0, ..., 2] * place.scale, intrinsics)
    return transform(own, place.world_from_camera), outputs.self_confidence[0]


def assemble_geometry(
    points: tuple[Tensor, Tensor],
    sight: Inference,
    place: PoseEstimate,
    grid: PixelGrid,
    intrinsics: Tensor,
    floor: float,
) -> Geometry:
    """A frame's Geometry of points and their confidence; below the `floor`, and where not finite, there is none."""
    (world, confidence), outputs = points, sight.outputs
    keep = find_confident(world, confidence, floor)
    depth = extract_depth(outputs, floor) * place.scale
    return Geometry(
        points=torch.where(keep[..., None], world, 0.0),
        confidence=torch.where(keep, confidence, 0.0),
        depth=depth,
        world_from_camera=place.world_from_camera,
        intrinsics=intrinsics,
        grid=grid,
        features=FeatureMap(_finite(outputs.features[0])),
        state_attention=None if outputs.attention is None else _finite(outputs.attention[0]),
        image_features=FeatureMap(_finite(sight.tokens.features[0].float().unflatten(0, sight.tokens.grid))),
    )


def extract_depth(outputs: Outputs, floor: float) -> Tensor:
    """Depth (H, W) of the self head's points, in units of the net; 0 where it is not trusted or not in front."""
    depth = outputs.self_points[0, ..., 2]
    seen = find_confident(depth[..., None], outputs.self_confidence[0], floor) & (depth > 0)
    return torch.where(seen, depth, 0.0)


def make_held_geometry(
    place: tuple[Tensor, Held], sizes: Cut3rSizes, attention: bool, grid: PixelGrid, intrinsics: Tensor
) -> Geometry:
    """A held frame's Geometry: a pose and a reason. Its features are as wide as any frame's, and zero."""
    pose, held = place
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


def _finite(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
