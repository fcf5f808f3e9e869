"""A published depth network as a function: an image in, its first depth and the grid of it out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import PixelGrid

RELATIVE_FAR = 1e-3  # added to relative inverse depth, as a share of its largest value: 0 is far, not unknown


class DepthNetwork:
    """Runs transformers' DepthAnythingForDepthEstimation, or a network with its `config` and outputs.

    Its input is the whole image, with `short_side` pixels along the shorter side, both sides rounded to whole patches.
    stride: of its depth every stride-th row and column is taken.
    """

    def __init__(self, net: Any, short_side: int, stride: int) -> None:
        self.net, self.short_side, self.stride = net, short_side, stride

    @property
    def is_metric(self) -> bool:
        """Whether it gives metres; else inverse depth up to a scale and a shift."""
        return self.net.config.depth_estimation_type == "metric"

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """Predict what the network gives, (h, w) float32 at its input's size, of an image (H, W, 3) uint8 RGB."""
        like = next(self.net.parameters())
        size = choose_input_size(image.shape[0], image.shape[1], self.short_side, self.net.config.patch_size)
        pixels = normalize_image(image.to(like.device), *size, mode="bicubic").to(like.dtype)
        return self.net(pixel_values=pixels).predicted_depth[0].float()

    def __call__(self, image: Tensor) -> tuple[Tensor, PixelGrid]:
        """Predict first depth (h, w), 0 = unknown, and its grid; of a relative network, one over what it gives."""
        values = self.predict(image)
        grid = make_strided_grid((image.shape[0], image.shape[1]), (values.shape[0], values.shape[1]), self.stride)
        first = self.stride // 2
        values = values[first :: self.stride, first :: self.stride]
        values = torch.where(values.isfinite() & (values >= 0), values, -1.0)
        if self.is_metric:
            return values.clamp(min=0), grid
        largest = values.max().clamp(min=1e-6)
        return torch.where(values >= 0, 1 / (values + RELATIVE_FAR * largest), 0.0), grid


def choose_input_size(height: int, width: int, short_side: int, patch: int) -> tuple[int, int]:
    """Choose the network's input size: the image's shape at `short_side`, each side to the nearest whole patches."""
    scale = short_side / min(height, width)
    rows, columns = (max(round(side * scale / patch), 1) * patch for side in (height, width))
    return rows, columns


def make_strided_grid(size: tuple[int, int], resized: tuple[int, int], stride: int) -> PixelGrid:
    """Make the grid of every stride-th pixel, from stride // 2, of an image of `size` that was resized."""
    first = stride // 2
    rows, columns = (len(range(first, side, stride)) for side in resized)
    scale_v, scale_u = (side / small for side, small in zip(size, resized, strict=True))
    offset_v, offset_u = ((first + 0.5) * scale - 0.5 for scale in (scale_v, scale_u))
    return PixelGrid(rows, columns, stride * scale_u, stride * scale_v, offset_u, offset_v)
