"""2D features without learned weights (F2d): color and texture per grid cell, without semantics."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.ops.fourier import encode_fourier
from moonseg3r_core.types import FeatureMap, Frame, Geometry

SAMPLES = 4  # color samples along a cell's edge
LAB_CENTER = np.array([50.0, 0.0, 0.0], np.float32)


class HandcraftedFeatures:
    """Frame -> F2d (h, w, C), h = ceil(H / cell), of appearance: a red chair and a red box are alike.

    Color: Fourier features of the cell's L*a*b* samples, a soft histogram centered on zero. The cosine of two masks'
    averages is the overlap of their color distributions. `color_range` (L*a*b* units) is the longest wavelength;
    `lightness` scales L* against chroma, since light changes with the view and paint does not.
    Texture: mean gradient at the doubled and quadrupled angle (zero without a preferred direction) and contrast,
    scaled by `texture` against color.
    """

    def __init__(self, cell: int, color_range: float, lightness: float, texture: float) -> None:
        self.cell, self.color_range, self.lightness, self.texture = cell, color_range, lightness, texture

    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap:
        image = frame.host_image
        h, w = (-(-size // self.cell) for size in frame.size)
        color = compute_color_features(image, h, w, self.color_range, self.lightness)
        texture = torch.from_numpy(compute_texture_features(image, h, w)) * self.texture
        return FeatureMap(torch.cat((color, texture), dim=-1).to(frame.image.device), frame.size)


def compute_color_features(image: np.ndarray, h: int, w: int, color_range: float, lightness: float) -> Tensor:
    """Compute mean Fourier features (h, w, 72) of 4 x 4 area samples of L*a*b* per cell; image (H, W, 3) uint8 RGB."""
    small = cv2.resize(image, (w * SAMPLES, h * SAMPLES), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) - LAB_CENTER
    lab[..., 0] *= lightness
    encoded = encode_fourier(torch.from_numpy(lab), color_range, octaves=3, count=12)
    return encoded.view(h, SAMPLES, w, SAMPLES, -1).mean((1, 3))


def compute_texture_features(image: np.ndarray, h: int, w: int) -> np.ndarray:
    """Compute per cell (h, w, 5) float32 the gradient at 2x and 4x its angle over its mean strength, and log contrast."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    gx = cv2.Sobel(gray, cv2.CV_32F, 1, 0)
    gy = cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    strength = cv2.magnitude(gx, gy) + 1e-3
    cosine2, sine2 = (gx * gx - gy * gy) / strength, 2 * gx * gy / strength
    cosine4, sine4 = (cosine2 * cosine2 - sine2 * sine2) / strength, 2 * cosine2 * sine2 / strength
    cells = [cv2.resize(c, (w, h), interpolation=cv2.INTER_AREA) for c in (cosine2, sine2, cosine4, sine4, strength)]
    mean_strength = cells[4] + 8.0  # a floor of sensor noise: a blank cell has no direction
    contrast = np.log(mean_strength / 40.0) / 2
    return np.stack([c / mean_strength for c in cells[:4]] + [contrast], axis=-1)
