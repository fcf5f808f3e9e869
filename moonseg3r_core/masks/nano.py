"""Masks by the small network of the package: affinities between pixels from color alone, joined to regions."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from moonseg3r_core.masks.affinities import label_regions
from moonseg3r_core.masks.filters import make_proposals
from moonseg3r_core.masks.mask_net import MaskNet, read_mask_net
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find


def build(weights: str, device: torch.device, min_area: int, long_side: int, smooth: float, join: float) -> NanoMasks:
    """Build the model of `masks.nano`. Raises WeightsError for weights that are missing or incomplete."""
    net = read_mask_net(find(weights)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NanoMasks(net, min_area, long_side, smooth, join)


class NanoMasks:
    """Frame, Geometry -> disjoint regions, largest first, every score 1; the geometry is not used.

    The network's input has `long_side` pixels along its longer side. `smooth`, `join`: as in `label_regions`.
    """

    def __init__(self, net: MaskNet, min_area: int, long_side: int, smooth: float, join: float) -> None:
        self.net, self.min_area, self.long_side = net, min_area, long_side
        self.smooth, self.join = smooth, join

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        height, width = frame.size
        labels = label_regions(self.predict_affinities(frame.host_image), self.smooth, self.join)
        full = cv2.resize(labels.astype(np.int32) + 1, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return make_proposals(torch.from_numpy(full).to(frame.image.device), self.min_area)

    @torch.no_grad()
    def predict_affinities(self, image: np.ndarray) -> np.ndarray:
        """Predict affinities (C, h, w) float32 in [0, 1] of an image (H, W, 3) uint8, at the network's size."""
        size = choose_network_size(image.shape[0], image.shape[1], self.long_side, self.net.step)
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).to(next(self.net.parameters()).device).permute(2, 0, 1)[None]
        return self.net(pixels.float() / 127.5 - 1)[0].sigmoid().cpu().numpy()


def choose_network_size(height: int, width: int, long_side: int, step: int) -> tuple[int, int]:
    """Choose the height and width, in multiples of `step`, of an image resized to about `long_side`."""
    scale = long_side / max(height, width)
    rows, columns = (max(int(side * scale / step + 0.5), 1) * step for side in (height, width))
    return rows, columns
