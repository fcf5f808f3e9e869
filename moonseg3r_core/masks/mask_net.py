"""A small U-Net (Ronneberger et al. 2015) that predicts whether pairs of pixels lie on one object.

Color and geometry have a stem each and meet at half resolution, as in UOIS-Net (Xie et al. 2021): shape carries over from
rendered to real pictures, color tells what shape does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.io.safetensors import read_net, write_net
from moonseg3r_core.masks.affinities import OFFSETS
from moonseg3r_core.masks.geometry_channels import COUNT
from moonseg3r_core.ops.blocks import Block
from moonseg3r_core.ops.xfeat import XFEAT_SIZE

_KIND = "mask_net"
_FEATURES_LEVEL = 2  # of the levels 1/2, 1/4, 1/8, ...: where XFeat's features lie


class MaskNet(nn.Module):
    """Images (B, 3, H, W) in [-1, 1], channels of their geometry (B, COUNT, H, W), 0 where nothing is known, and XFeat's
    features of them (B, XFEAT_SIZE, H/8, W/8), 0 without them -> logits (B, C, H, W) that a pixel and the one OFFSETS[c]
    away are one object.

    widths: channels at 1/2, 1/4, 1/8, ... of the image's resolution. H and W are multiples of `step`.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 112, 160, 208)) -> None:
        super().__init__()
        if min(widths) < 1 or len(widths) <= _FEATURES_LEVEL:
            raise ValueError(f"widths must be {_FEATURES_LEVEL + 1} numbers from 1 on, or more, got {widths}")
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.geometry_stem = nn.Conv2d(4 * COUNT, widths[0], 3, padding=1)
        self.geometry = Block(widths[0], widths[0])
        self.features = nn.Conv2d(XFEAT_SIZE, widths[_FEATURES_LEVEL - 1], 1, bias=False)
        self.down = nn.ModuleList(map(Block, (2 * widths[0], *widths[:-1]), widths))
        self.up = nn.ModuleList(Block(wide + narrow, narrow) for narrow, wide in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 4 * len(OFFSETS), 1)

    @property
    def step(self) -> int:
        """The sides of an image are multiples of this."""
        return 2 ** len(self.widths)

    def forward(self, images: Tensor, geometry: Tensor, features: Tensor) -> Tensor:
        shape = self.geometry(self.geometry_stem(F.pixel_unshuffle(geometry, 2)))
        x = self.down[0](torch.cat((self.stem(F.pixel_unshuffle(images, 2)), shape), 1))
        skipped = []
        for level, block in enumerate(self.down[1:], 1):
            skipped.append(x)
            x = F.max_pool2d(x, 2)
            x = block(x + self.features(features) if level == _FEATURES_LEVEL else x)
        for block in reversed(self.up):
            x = block(torch.cat((F.interpolate(x, scale_factor=2), skipped.pop()), 1))
        return F.pixel_shuffle(self.head(F.relu(x)), 2)


def write_mask_net(path: Path, net: MaskNet) -> None:
    """Write a net to a file, its widths in the header. Raises OutputError."""
    write_net(path, _KIND, net, {"widths": net.widths})


def read_mask_net(path: Path) -> MaskNet:
    """Read a net from a file. Raises InputError for a file that holds no mask net."""
    return read_net(path, _KIND, lambda facts: MaskNet(facts["widths"]), "moonseg3r train masks")
