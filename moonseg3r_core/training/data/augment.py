"""Random augmentation of clips: exposure, color, contrast, blur, noise, mirror images."""

from __future__ import annotations

import torch
from torch import Tensor

_MIRROR = (-1.0, 1.0, 1.0)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment images (B, T, H, W, 3) uint8, each clip in its own way: (B, T, 3, H, W) float32 in [-1, 1].

    `generator` is a CPU's, so that a seed gives the same images on every device.
    """
    sampler = _Sampler(len(images), generator, images.device)
    x = images.permute(0, 1, 4, 2, 3).float() / 255
    x = _adjust_colors(x, sampler)
    x = torch.lerp(x, _blur(x, sampler), sampler.sample_mask(0.6))
    wobble = 1 + 0.06 * torch.randn(*x.shape[:2], 1, 1, 1, generator=generator).to(x)
    x = (x * wobble).clamp(0, 1)
    grain = torch.randn((*x.shape[:2], 1, *x.shape[3:]), generator=generator).to(x)
    x = x + grain * sampler.sample_between(0.0, 0.05) * sampler.sample_mask(0.7)
    return x.clamp(0, 1) * 2 - 1


def mirror(images: Tensor, depth: Tensor, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror images (..., H, W, 3) and depth (..., H, W) left to right, and poses (..., 4, 4) with them.

    The principal point must lie in the middle of the image, as in rendered clips.
    """
    flip = torch.diag(torch.tensor((*_MIRROR, 1.0), dtype=poses.dtype, device=poses.device))
    return images.flip(-2), depth.flip(-1), flip @ poses @ flip


class _Sampler:
    """Samples a random number for each clip, in a shape that multiplies images."""

    def __init__(self, clips: int, generator: torch.Generator, device: torch.device) -> None:
        self.clips, self.generator, self.device = clips, generator, device

    def sample_between(self, low: float, high: float, channels: int = 1) -> Tensor:
        numbers = torch.rand(self.clips, 1, channels, 1, 1, generator=self.generator)
        return (low + (high - low) * numbers).to(self.device)

    def sample_mask(self, share: float) -> Tensor:
        return (torch.rand(self.clips, 1, 1, 1, 1, generator=self.generator) < share).float().to(self.device)


def _adjust_colors(x: Tensor, sampler: _Sampler) -> Tensor:
    """Change gamma, exposure, white balance, saturation and contrast; sometimes permute the channels."""
    gray = x.mean(2, keepdim=True)
    x = torch.lerp(gray, x, sampler.sample_between(0.0, 1.5))
    order = torch.stack([torch.randperm(3, generator=sampler.generator) for _ in range(sampler.clips)]).to(x.device)
    swapped = x.gather(2, order[:, None, :, None, None].expand_as(x))
    x = torch.lerp(x, swapped, sampler.sample_mask(0.35))
    x = x.clamp(1e-4, 1) ** torch.exp(sampler.sample_between(-0.5, 0.5))
    x = x * torch.exp(sampler.sample_between(-0.45, 0.35)) * torch.exp(sampler.sample_between(-0.15, 0.15, channels=3))
    return ((x - 0.5) * sampler.sample_between(0.7, 1.2) + 0.5 + sampler.sample_between(-0.06, 0.06)).clamp(0, 1)


def _blur(x: Tensor, sampler: _Sampler) -> Tensor:
    """Blur by up to a pixel, by different amounts along rows and columns."""
    for axis in (-1, -2):
        side = sampler.sample_between(0.0, 0.25)  # a three-tap kernel (s, 1 - 2s, s), twice
        for _ in range(2):
            x = x + side * (_shift(x, 1, axis) + _shift(x, -1, axis) - 2 * x)
    return x


def _shift(x: Tensor, by: int, axis: int) -> Tensor:
    """Shift images by a pixel and repeat the border."""
    size = x.shape[axis]
    if by > 0:
        return torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)), axis)
    return torch.cat((x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)), axis)
