"""Features of an image by XFeat (Potje et al., CVPR 2024): the only part of the mask net that has seen photographs."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.ops.xfeat import CELL, XFEAT_SIZE, XFeatNet, find_weights, load_net

_LUMA = (0.299, 0.587, 0.114)


class ImageFeatures:
    """Images (B, 3, H, W), sides multiples of 32 -> features (B, XFEAT_SIZE, H/8, W/8) of mean square 1; all 0 where XFeat is not
    installed.
    """

    def __init__(self, net: XFeatNet | None) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        if self.net is None:
            return images.new_zeros(len(images), XFEAT_SIZE, images.shape[2] // CELL, images.shape[3] // CELL)
        gray = torch.einsum("bchw,c->bhw", images, images.new_tensor(_LUMA))[:, None]
        return F.normalize(self.net.describe(gray).float(), dim=1) * XFEAT_SIZE**0.5


def make_image_features(device: torch.device) -> ImageFeatures:
    """Make the features with the weights that are installed."""
    weights = find_weights()
    return ImageFeatures(None if weights is None else deepcopy(load_net(weights)).to(device))
