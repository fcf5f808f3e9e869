"""Queries without weights: masked average pooling over F2d and F3d (paper eq 2 without eta; Table 2, first row)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moonseg3r_core.ops.grids import resample_to_image
from moonseg3r_core.ops.pooling import count_cell_pixels
from moonseg3r_core.types import FeatureMap, Geometry, Queries, Recalled


class AverageRefinement:
    """q = [mean of F3d, mean of F2d] under each mask, each part of unit length so that both weigh the same."""

    def __call__(self, queries: Queries, features: FeatureMap, geometry: Geometry, recalled: Recalled) -> Queries:
        maps = [features] if geometry.features is None else [geometry.features, features]
        labels = [
            queries.labels if m.size is None else resample_to_image(queries.labels, geometry, m.size) for m in maps
        ]
        parts = [
            normalize(average_under_masks(m.features, under, len(queries)), dim=-1)
            for m, under in zip(maps, labels, strict=True)
        ]
        return dataclasses.replace(queries, features=torch.cat(parts, dim=-1))


def average_under_masks(features: Tensor, labels: Tensor, masks: int) -> Tensor:
    """Average features (h, w, C) under labels (H, W), weighted by pixels per cell: (masks, C). Eq 2 before eta."""
    h, w, _ = features.shape
    weights = count_cell_pixels(labels, masks, h, w)
    return weights @ features.reshape(h * w, -1) / weights.sum(1, keepdim=True).clamp(min=1)
