"""Image features and their matches: where they lie as rays of the camera, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from moonseg3r_core.types import PixelGrid

_SIDE = 480  # pixels of the picture's long side in which features are looked for
_FEATURES, _CONTRAST = 800, 0.01  # rooms have plain walls: weak features are taken too
_RATIO = 0.85  # Lowe's: a match is as much nearer than the second nearest
DESCRIPTOR_SIZE = 128  # of a descriptor
_FAR = 1e9  # the squares of distances of descriptors, whose length is 255, are less
_UNLIKE = 0.5 * 255**2  # and less than this where they are of one thing


@dataclass(frozen=True)
class Features:
    """Features of a picture: rays (n, 2) x / z and y / z, descriptors (n, 128) uint8, the net's depth there (n,) in its
    unit, and the focal length in pixels of the picture they were found in.
    """

    rays: np.ndarray
    descriptors: np.ndarray
    depths: np.ndarray
    focal: float


class Detector:
    """SIFT (Lowe, 2004) by OpenCV, with the descriptors' square roots (Arandjelovic and Zisserman, 2012)."""

    def __init__(self) -> None:
        self._sift = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=_CONTRAST)

    def __call__(self, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, grid: PixelGrid) -> Features:
        """Image (H, W, 3) uint8; depth (h, w) on the grid, 0 = unknown, and its intrinsics (3, 3). Of features, those whose
        depth is known.
        """
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shrink = min(1.0, _SIDE / max(gray.shape))
        small = cv2.resize(gray, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else gray
        keypoints, descriptors = self._sift.detectAndCompute(small, None)
        focal = float(intrinsics[0, 0]) * grid.scale_u * shrink
        if descriptors is None:
            return Features(np.zeros((0, 2)), np.zeros((0, DESCRIPTOR_SIZE), np.uint8), np.zeros(0), focal)
        pixels = (np.array([k.pt for k in keypoints], np.float64) + 0.5) / shrink - 0.5
        places = (pixels - (grid.offset_u, grid.offset_v)) / (grid.scale_u, grid.scale_v)
        z = sample_depth(places, depth)
        known = z > 0
        rays = (places - intrinsics[:2, 2]) / (intrinsics[0, 0], intrinsics[1, 1])
        roots = np.sqrt(descriptors / descriptors.sum(1, keepdims=True).clip(1e-9))
        return Features(rays[known], (roots * 255).round().astype(np.uint8)[known], z[known], focal)


def sample_depth(places: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depth (h, w) at the pixels nearest to places (n, 2); 0 beyond the border."""
    columns, rows = np.rint(places).astype(int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < depth.shape[0]) & (columns >= 0) & (columns < depth.shape[1])
    out = np.zeros(len(places))
    out[inside] = depth[rows[inside], columns[inside]]
    return out


def match_descriptors(
    one: np.ndarray, other: np.ndarray, near: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m,) of descriptors `one` (n, 128) and of `other` (k, 128) that are alike, each the other's nearest, and clearly
    so; of the pairs that are `near` (n, k) bool, or of all.
    """
    if not len(one) or len(other) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    a, b = one.astype(np.float32), other.astype(np.float32)
    apart = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    if near is not None:
        apart[~near] = _FAR
    rows = np.arange(len(a))
    nearest = apart.argmin(1)
    first = apart[rows, nearest].copy()
    mutual = (apart.argmin(0)[nearest] == rows) & (first < _UNLIKE)
    apart[rows, nearest] = _FAR
    good = np.flatnonzero(mutual & (first < _RATIO**2 * apart.min(1)))
    return good, nearest[good]
