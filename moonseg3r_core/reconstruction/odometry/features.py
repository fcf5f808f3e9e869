"""Image features as camera rays with descriptors, and the matches between two sets of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from moonseg3r_core.types import PixelGrid

_MAX_SIDE = 480  # pixels: the long side of the image that features are detected in
_MAX_FEATURES, _CONTRAST = 800, 0.01  # indoor walls have little texture, so weak features are taken too
_RATIO = 0.85  # Lowe's ratio test: nearest over second nearest distance
DESCRIPTOR_SIZE = 128
_EXCLUDED = 1e9  # above any squared distance of descriptors, whose norm is 255
_MAX_SQUARED_DISTANCE = 0.5 * 255**2


@dataclass(frozen=True)
class Features:
    """Features of an image.

    rays (n, 2), x / z and y / z; descriptors (n, 128) uint8; depths (n,) of the net; focal in pixels of the image that
    they were detected in.
    """

    rays: np.ndarray
    descriptors: np.ndarray
    depths: np.ndarray
    focal: float


class Detector:
    """SIFT (Lowe, 2004) by OpenCV, with RootSIFT descriptors (Arandjelovic and Zisserman, 2012)."""

    def __init__(self) -> None:
        self._sift = cv2.SIFT.create(nfeatures=_MAX_FEATURES, contrastThreshold=_CONTRAST)

    def __call__(self, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, grid: PixelGrid) -> Features:
        """Detect features of known depth. image (H, W, 3) uint8; depth (h, w) on the grid, 0 = unknown; the grid's
        intrinsics (3, 3).
        """
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _MAX_SIDE / max(gray.shape))
        small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray
        keypoints, descriptors = self._sift.detectAndCompute(small, None)
        focal = float(intrinsics[0, 0]) * grid.scale_u * scale
        if descriptors is None:
            return Features(np.zeros((0, 2)), np.zeros((0, DESCRIPTOR_SIZE), np.uint8), np.zeros(0), focal)
        image_pixels = (np.array([k.pt for k in keypoints], np.float64) + 0.5) / scale - 0.5
        pixels = (image_pixels - (grid.offset_u, grid.offset_v)) / (grid.scale_u, grid.scale_v)
        z = sample_depth(pixels, depth)
        known = z > 0
        rays = (pixels - intrinsics[:2, 2]) / (intrinsics[0, 0], intrinsics[1, 1])
        roots = np.sqrt(descriptors / descriptors.sum(1, keepdims=True).clip(1e-9))
        return Features(rays[known], (roots * 255).round().astype(np.uint8)[known], z[known], focal)


def sample_depth(pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Sample depth (h, w) at the pixels nearest to (n, 2); 0 outside."""
    columns, rows = np.rint(pixels).astype(int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < depth.shape[0]) & (columns >= 0) & (columns < depth.shape[1])
    out = np.zeros(len(pixels))
    out[inside] = depth[rows[inside], columns[inside]]
    return out


def match_descriptors(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Match descriptors (n, 128) and (k, 128) by mutual nearest neighbours and ratio test: rows (m,) of both.

    mask (n, k) bool: the pairs that may match; None for all.
    """
    if not len(a) or len(b) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    a, b = a.astype(np.float32), b.astype(np.float32)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    if mask is not None:
        squared[~mask] = _EXCLUDED
    rows = np.arange(len(a))
    nearest = squared.argmin(1)
    first = squared[rows, nearest].copy()
    mutual = (squared.argmin(0)[nearest] == rows) & (first < _MAX_SQUARED_DISTANCE)
    squared[rows, nearest] = _EXCLUDED
    good = np.flatnonzero(mutual & (first < _RATIO**2 * squared.min(1)))
    return good, nearest[good]
