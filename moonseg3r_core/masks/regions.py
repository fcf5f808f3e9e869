"""Masks without learned weights: graph-based regions over color and surface, merged where both are alike."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import torch
from skimage.segmentation import felzenszwalb

from moonseg3r_core.masks.filters import make_proposals
from moonseg3r_core.masks.region_merging import MergeRule, RegionGraph, group_borders, merge_regions
from moonseg3r_core.masks.surface import Surface, compute_steps, compute_surface, find_nearest_valid
from moonseg3r_core.types import Frame, Geometry, MaskProposals


class RegionMasks:
    """Frame, Geometry -> disjoint regions, largest first, every score 1.

    Color, surface normals and depth are segmented at `width` pixels (Felzenszwalb & Huttenlocher 2004). Adjacent regions
    are merged while their colors differ by less than about `color` (L*a*b* units) and the surface between them is smooth
    or convex. Without valid points color alone decides.
    """

    def __init__(
        self,
        min_area: int,
        width: int,
        scale: float,
        sigma: float,
        lightness: float,
        normals: float,
        depth: float,
        jump: float,
        convex: float,
        color: float,
        crease: float,
        small_area: float,
    ) -> None:
        self.min_area, self.width, self.scale, self.sigma = min_area, width, scale, sigma
        self.lightness, self.normals, self.depth = lightness, normals, depth
        self.jump, self.convex = jump, convex
        self.rule = MergeRule(color, crease, small_area)

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        height, width = frame.size
        w = min(self.width, width)
        h = max(round(height * w / width), 1)
        lab = _convert_to_lab(frame.host_image, h, w, self.sigma, self.lightness)
        surface = compute_surface(geometry, frame.size, h, w, reach=4)
        labels = self._merge(self._segment(lab, surface), lab, surface)
        full = cv2.resize(labels.astype(np.int32) + 1, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return make_proposals(torch.from_numpy(full).to(frame.image.device), self.min_area)

    def _segment(self, lab: np.ndarray, surface: Surface) -> np.ndarray:
        """Segment color and surface into labels (h, w), numbered from 0."""
        known = find_nearest_valid(surface.valid)
        depth = surface.points[..., 2].ravel()[known]
        distance = np.log(np.maximum(depth, 1e-3))[..., None] * self.depth
        layers = np.concatenate((lab, surface.normals.reshape(-1, 3)[known] * self.normals, distance), axis=-1) / 100
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Got image with third dimension")
            return felzenszwalb(layers, scale=self.scale, sigma=0, min_size=10, channel_axis=-1)

    def _merge(self, labels: np.ndarray, lab: np.ndarray, surface: Surface) -> np.ndarray:
        flat, regions = labels.ravel(), int(labels.max()) + 1
        found = compute_steps(lab, surface, self.jump, self.convex)
        values = np.stack((np.ones(len(found.start)), found.contrast, found.edge, found.known), axis=1)
        first, second, sums = group_borders(flat[found.start], flat[found.end], values, regions)
        color_sums = np.stack([np.bincount(flat, c, regions) for c in lab.reshape(-1, 3).T], axis=1)
        graph = RegionGraph(np.bincount(flat, minlength=regions).astype(float), color_sums, first, second, sums)
        return merge_regions(graph, self.rule)[labels]


def _convert_to_lab(image: np.ndarray, h: int, w: int, sigma: float, lightness: float) -> np.ndarray:
    """Convert an image (H, W, 3) uint8 RGB to smoothed L*a*b* (h, w, 3) float32, lightness scaled."""
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab = lab * np.array([lightness, 1.0, 1.0], np.float32)
    return cv2.GaussianBlur(lab, (0, 0), sigma) if sigma > 0 else lab
