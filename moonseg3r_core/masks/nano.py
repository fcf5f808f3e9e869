"""Masks by the small network of the package: affinities between pixels from color and geometry, joined to regions."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from moonseg3r_core.masks.affinities import compute_region_scores, label_regions, raise_affinities
from moonseg3r_core.masks.filters import make_proposals
from moonseg3r_core.masks.geometry_channels import compute_geometry_channels
from moonseg3r_core.masks.image_features import ImageFeatures, make_image_features
from moonseg3r_core.masks.mask_net import MaskNet, read_mask_net
from moonseg3r_core.masks.surface import locate_pixels
from moonseg3r_core.ops.precision import autocast_where_fast
from moonseg3r_core.types import Frame, Geometry, MapView, MaskProposals
from moonseg3r_core.weights import find


def build(
    weights: str, device: torch.device, min_area: int, long_side: int, smooth: float, join: float, prior: float
) -> NanoMasks:
    """Build the model of `masks.nano`. Raises WeightsError for weights that are missing or incomplete."""
    net = read_mask_net(find(weights)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NanoMasks(net, make_image_features(device), min_area, long_side, smooth, join, prior)


class NanoMasks:
    """Frame, Geometry -> disjoint regions, largest first, with their scores.

    The network's input has `long_side` pixels along its longer side. `smooth`, `join`: as in `label_regions`.
    prior: as in `raise_affinities`.
    """

    def __init__(
        self,
        net: MaskNet,
        features: ImageFeatures,
        min_area: int,
        long_side: int,
        smooth: float,
        join: float,
        prior: float,
    ) -> None:
        self.net, self.features, self.min_area, self.long_side = net, features, min_area, long_side
        self.smooth, self.join, self.prior = smooth, join, prior
        self._view: MapView | None = None
        self._device = next(net.parameters()).device

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        height, width = frame.size
        affinities = self.predict_affinities(frame.host_image, geometry)
        affinities = self._take_map(affinities, geometry, frame.size)
        labels = label_regions(affinities, self.smooth, self.join)
        scores = torch.from_numpy(compute_region_scores(affinities, labels)).to(frame.image.device)
        full = cv2.resize(labels.astype(np.int32) + 1, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return make_proposals(torch.from_numpy(full).to(frame.image.device), self.min_area, scores)

    def show_map(self, view: MapView) -> None:
        """Show what the map has in view; the next frame's pairs of pixels that it shows as one object are more alike."""
        self._view = view

    def _take_map(self, affinities: np.ndarray, geometry: Geometry, size: tuple[int, int]) -> np.ndarray:
        """Take what the map shows into account, once."""
        view, self._view = self._view, None
        if view is None or not self.prior:
            return affinities
        rows, columns, inside = locate_pixels(geometry.grid, size, *affinities.shape[1:])
        rows, columns = (
            x.clip(0, n - 1) // view.step for x, n in ((rows, geometry.grid.height), (columns, geometry.grid.width))
        )
        return raise_affinities(affinities, view.ids.cpu().numpy()[rows[:, None], columns] * inside, self.prior)

    @torch.no_grad()
    def predict_affinities(self, image: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Predict affinities (C, h, w) float32 in [0, 1] of an image (H, W, 3) uint8, at the network's size."""
        size = choose_network_size(image.shape[0], image.shape[1], self.long_side, self.net.step)
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).to(self._device).permute(2, 0, 1)[None]
        channels = torch.from_numpy(compute_geometry_channels(geometry, image.shape[:2], *size)).to(self._device)[None]
        x = pixels.float() / 127.5 - 1
        with autocast_where_fast(self._device):
            return self.net(x, channels, self.features(x))[0].sigmoid().float().cpu().numpy()


def choose_network_size(height: int, width: int, long_side: int, step: int) -> tuple[int, int]:
    """Choose the height and width, in multiples of `step`, of an image resized to about `long_side`."""
    scale = long_side / max(height, width)
    rows, columns = (max(int(side * scale / step + 0.5), 1) * step for side in (height, width))
    return rows, columns
