"""PyTorch3D's point rasteriser as a `Rasterizer` (optional package), and the choice between the two."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.errors import ConfigError, MissingDependency
from moonseg3r_core.memory.rasterizer import Raster, Rasterizer, project_discs, rasterize


class Pytorch3dRasterizer:
    """`pytorch3d.renderer.points.rasterize_points` with one point per pixel.

    Raises MissingDependency where pytorch3d is not installed.
    """

    def __init__(self) -> None:
        try:
            self._points: Any = importlib.import_module("pytorch3d.renderer.points.rasterize_points")
            self._structures: Any = importlib.import_module("pytorch3d.structures")
        except ImportError as error:
            raise MissingDependency(
                f"memory.index.rasterizer: pytorch3d needs the package pytorch3d ({error}); install it with "
                "`pip install --no-build-isolation 'git+https://github.com/facebookresearch/pytorch3d.git@v0.7.9'` "
                "or choose memory.index.rasterizer: torch, which gives the same result."
            ) from error

    def __call__(
        self, points_camera: Tensor, intrinsics: Tensor, height: int, width: int, radius_px: Tensor | float
    ) -> Raster:
        discs = project_discs(points_camera, intrinsics, height, width, radius_px)
        if len(discs) == 0 or height == 0 or width == 0:
            none = torch.full((height, width), -1, dtype=torch.int32, device=points_camera.device)
            return Raster(none, none.float())
        cloud = self._structures.Pointclouds(points=[torch.stack((discs.x, discs.y, discs.z), dim=1)])
        rank, depth, _ = self._points.rasterize_points(
            cloud, image_size=(height, width), radius=discs.square.sqrt()[None], points_per_pixel=1
        )
        rank, depth = rank[0, :, :, 0].long(), depth[0, :, :, 0]
        index = torch.where(rank >= 0, discs.index[rank.clamp(min=0)], -1)
        return Raster(index.to(torch.int32), depth)


def make_rasterizer(name: str) -> Rasterizer:
    """Make the rasteriser `torch` or `pytorch3d`. Raises MissingDependency where the latter is not installed."""
    if name not in ("torch", "pytorch3d"):
        raise ConfigError(f"memory.index.rasterizer must be one of torch, pytorch3d, got {name!r}; choose one.")
    return Pytorch3dRasterizer() if name == "pytorch3d" else rasterize
