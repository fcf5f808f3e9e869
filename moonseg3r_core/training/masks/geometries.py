"""The geometry that masks are learned with: estimated from several views, of a depth camera, exact, or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.masks.geometry_channels import COUNT, compute_geometry_channels
from moonseg3r_core.ops.precision import autocast_where_fast
from moonseg3r_core.reconstruction.intrinsics import scale_intrinsics
from moonseg3r_core.reconstruction.multi_view.depth import RefinedDepth
from moonseg3r_core.reconstruction.multi_view.net import MultiViewNet
from moonseg3r_core.synthetic.degrade import DepthNoise
from moonseg3r_core.training.data.clips import Clip
from moonseg3r_core.training.depth.recipe import DepthStage
from moonseg3r_core.training.depth.train import predict_batch
from moonseg3r_core.training.depth.views import make_views
from moonseg3r_core.types import Geometry, PixelGrid

ESTIMATED, CAMERA, EXACT, NO_GEOMETRY = range(4)
SHARES = (0.5, 0.2, 0.08, 0.22)  # of the pictures, by the kind of their geometry
_SOURCES = 4  # other pictures that depth is estimated with
_AT_ONCE = 8  # pictures


def describe_geometries(clip: Clip, height: int, width: int, net: MultiViewNet, seed: int) -> Tensor:
    """Describe the geometry of a clip's frames by the channels of each kind: (4, F, COUNT, height, width) float16."""
    frames = len(clip.images)
    found = np.zeros((len(SHARES), frames, COUNT, height, width), np.float16)
    estimated = estimate_geometries(clip, range(frames), (height, width), net, seed)
    noise, size = DepthNoise(), (height, width)
    for frame in range(frames):
        exact = clip.depth[frame].float()
        found[ESTIMATED, frame] = compute_geometry_channels(estimated[frame], size, *size)
        camera = noise(exact, seed, frame)
        found[CAMERA, frame] = compute_geometry_channels(_make_geometry(camera, clip.intrinsics, size), size, *size)
        found[EXACT, frame] = compute_geometry_channels(_make_geometry(exact, clip.intrinsics, size), size, *size)
    return torch.from_numpy(found)


@torch.no_grad()
def estimate_geometries(
    clip: Clip, views: Sequence[int], size: tuple[int, int], net: MultiViewNet, seed: int
) -> list[Geometry]:
    """Estimate the geometry of some frames by a net of several views, with a tracker's errors in the poses.

    size: height and width of the images that the net sees, and over which the geometry is laid.
    """
    generator, device = torch.Generator().manual_seed(seed), next(net.parameters()).device
    stage = DepthStage(steps=1, batch=1, height=size[0], width=size[1])
    found = []
    for start in range(0, len(views), _AT_ONCE):
        batch, typical = make_views(clip, views[start : start + _AT_ONCE], stage, _SOURCES, generator)
        with autocast_where_fast(device):
            predicted = predict_batch(net, batch.to(device))
        depths = predicted.log_depth.float().exp().cpu() * typical[:, None, None]
        spreads = predicted.log_spread.float().exp().cpu()
        for depth, spread in zip(depths, spreads, strict=True):
            confidence = RefinedDepth(depth, spread).confidence
            k = scale_intrinsics(clip.intrinsics, clip.images.shape[2] / depth.shape[1])
            found.append(_make_geometry(depth, k, size, confidence))
    return found


def _make_geometry(
    depth: Tensor, intrinsics: Tensor, size: tuple[int, int], confidence: Tensor | None = None
) -> Geometry:
    """Make a geometry of depth (h, w), 0 = unknown, laid evenly over an image of some size; its points are not set."""
    rows, columns = depth.shape
    scale = size[1] / columns
    grid = PixelGrid(rows, columns, scale, scale, (scale - 1) / 2, (scale - 1) / 2)
    sure = (depth > 0).float() if confidence is None else confidence
    points = torch.zeros(rows, columns, 3)
    return Geometry(points, sure, depth, torch.eye(4, dtype=torch.float64), intrinsics, grid)
