"""Blocks of the small convolutional nets."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_RESIDUAL_GAIN = 0.2  # initial weights of a block's last convolution, relative to He's initialization


class Block(nn.Module):
    """A residual block of two convolutions without normalization; its residual is small at first."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.past = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        for conv, gain in ((self.first, 1.0), (self.second, _RESIDUAL_GAIN)):
            nn.init.normal_(conv.weight, std=gain * (2 / (9 * conv.in_channels)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.past(x) + self.second(F.relu(self.first(F.relu(x))))


def double(x: Tensor) -> Tensor:
    """Double the resolution of (B, C, h, w), bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def compute_pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Compute the homogeneous pixels (3, height * width) of an image, row by row: (u, v, 1)."""
    v, u = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack((u, v, torch.ones_like(u))).reshape(3, -1).float()
