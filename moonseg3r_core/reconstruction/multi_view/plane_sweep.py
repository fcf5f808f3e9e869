"""Plane sweep: how well a view's pixels match other views, had they the depth of one plane or another.

Source: Collins, "A space-sweep approach to true multi-image matching" (1996); on features, Yao et al., "MVSNet" (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.ops.blocks import compute_pixel_grid
from moonseg3r_core.reconstruction.multi_view.plane_sweep_cpu import correlate_on_cpu

NEAREST, FARTHEST = 0.14, 6.5  # depths of the first and the last plane, in the typical depth of the view
MIN_DEPTH = 1e-3  # of a point before a source, in the same unit


def make_log_planes(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Make the logarithms (count,) of the planes' depths, evenly spaced."""
    return torch.linspace(math.log(NEAREST), math.log(FARTHEST), count, device=device)


@dataclass(frozen=True)
class Sweep:
    """Where a view's pixels lie in its sources: at depth d, pixel n has homogeneous pixels `turned` d + `shift`.

    turned (B, S, 3, N), row by row of the grid; shift (B, S, 3); depths (B, N, P) that each pixel is tried at.
    """

    turned: Tensor
    shift: Tensor
    depths: Tensor

    @classmethod
    def from_poses(cls, intrinsics: Tensor, source_from_view: Tensor, depths: Tensor, size: tuple[int, int]) -> Sweep:
        """Make the sweep of views with intrinsics (B, 3, 3) and sources at source_from_view (B, S, 4, 4); size h, w.

        depths: (P,) of planes that all pixels are tried at, or (B, P, h, w), each pixel at its own.
        """
        pixels = compute_pixel_grid(*size, depths.device)
        with torch.autocast(depths.device.type, enabled=False):  # a pixel's place needs all digits
            inverse = torch.linalg.inv(intrinsics)[:, None]
            turned = intrinsics[:, None] @ source_from_view[..., :3, :3] @ inverse @ pixels
            shift = (intrinsics[:, None] @ source_from_view[..., :3, 3:])[..., 0]
        own = depths.flatten(2).mT if depths.ndim == 4 else depths.expand(len(turned), turned.shape[-1], -1)
        return cls(turned.contiguous(), shift.contiguous(), own.contiguous())

    def locate(self) -> Tensor:
        """Locate all pixels at all planes: (B, S, N, P, 2); infinite where a point lies behind a source."""
        points = self.turned[..., None] * self.depths[:, None, None] + self.shift[..., None, None]
        z = points[:, :, 2]
        located = points[:, :, :2] / z.clamp(min=MIN_DEPTH)[:, :, None]
        return torch.where((z > MIN_DEPTH)[:, :, None], located, torch.inf).permute(0, 1, 3, 4, 2)

    def compute_parallax(self) -> Tensor:
        """Compute how many pixels (B, S, N) the typical depth and infinity lie apart in each source."""
        far = self.turned[:, :, :2] / self.turned[:, :, 2:].clamp(min=MIN_DEPTH)
        near = self.turned + self.shift[..., None]
        return (near[:, :, :2] / near[:, :, 2:].clamp(min=MIN_DEPTH) - far).norm(dim=2).clamp(max=1e3)


Correlate = Callable[[Tensor, Tensor, Sweep], tuple[Tensor, Tensor]]


def correlate(view: Tensor, sources: Tensor, sweep: Sweep) -> tuple[Tensor, Tensor]:
    """Correlate a view's features with its sources': scores and visibility, (B, S, P, h, w) both.

    view (B, C, h, w); sources (B, S, C, h, w). A score is a dot product over root C, and 0 where the pixel is not seen.
    """
    batch, count, channels, height, width = sources.shape
    rows = view.float().permute(0, 2, 3, 1).reshape(batch, height * width, channels).contiguous()
    tables = sources.float().permute(0, 1, 3, 4, 2).contiguous()
    compute = _CORRELATE.get(view.device.type, correlate_by_sampling)
    scores, seen = compute(rows, tables, sweep)
    shape = (batch, count, height, width, sweep.depths.shape[-1])
    return (scores / math.sqrt(channels)).reshape(shape).movedim(-1, 2), seen.reshape(shape).movedim(-1, 2)


def correlate_by_sampling(view: Tensor, sources: Tensor, sweep: Sweep) -> tuple[Tensor, Tensor]:
    """Compute dot products and visibility (B, S, N, P): view (B, N, C), sources (B, S, h, w, C)."""
    batch, count, height, width, _ = sources.shape
    half = torch.tensor((width / 2, height / 2), device=view.device)
    places = ((sweep.locate() + 0.5) / half - 1).flatten(0, 1)
    seen = (places.abs() < 1).all(-1)
    places = torch.where(seen[..., None], places, 2.0)
    flat = sources.flatten(0, 1).permute(0, 3, 1, 2)
    warped = F.grid_sample(flat, places, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    scores = (warped.unflatten(0, (batch, count)) @ view[:, None, :, :, None])[..., 0]
    seen = seen.unflatten(0, (batch, count))
    return torch.where(seen, scores, 0.0), seen


_CORRELATE: dict[str, Correlate] = {"cpu": correlate_on_cpu}
