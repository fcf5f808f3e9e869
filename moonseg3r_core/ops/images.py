"""Input images of published networks: resized, and normalized by ImageNet's mean and deviation."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]


def resize_image(image: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Resize an image (H, W, 3) uint8 to (3, height, width) float32 in [0, 1], bilinear or bicubic, with antialiasing."""
    planes = image.permute(2, 0, 1)[None].float() / 255
    return interpolate(planes, (height, width), mode=mode, align_corners=False, antialias=True)[0].clamp_(0, 1)


def normalize_image(image: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Resize an image (H, W, 3) uint8 and normalize it by ImageNet's statistics: (1, 3, height, width) float32."""
    colors = resize_image(image, height, width, mode)
    mean, std = (colors.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((colors - mean) / std)[None]
