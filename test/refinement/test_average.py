"""Average refinement: what lies under a mask is averaged, on whatever grids the features and the geometry are."""

import dataclasses

import pytest
import torch

from moonseg3r_core.refinement.average import AverageRefinement
from moonseg3r_core.types import FeatureMap, Geometry, PixelGrid, Queries, Recalled


def queries(labels):
    return dataclasses.replace(
        Queries.empty(*labels.shape), features=torch.zeros(1, 0), labels=labels, areas=torch.ones(1, dtype=torch.int64),
        boxes=torch.zeros(1, 2, 3), scores=torch.ones(1),
    )  # fmt: skip


def refined(labels, features, geometry):
    return AverageRefinement()(queries(labels), features, geometry, Recalled.empty()).features[0]


def test_a_query_is_f3d_and_f2d_under_the_mask_each_of_unit_length():
    labels = torch.zeros(32, 32, dtype=torch.int32)
    labels[:16, 16:] = 1
    f2d, f3d = torch.zeros(2, 2, 2), torch.zeros(2, 2, 3)
    f2d[0, 1], f3d[0, 1] = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0, 0.0])
    geometry = dataclasses.replace(Geometry.empty(32, 32), features=FeatureMap(f3d))
    got = refined(labels, FeatureMap(f2d, (32, 32)), geometry)
    assert torch.allclose(got, torch.tensor([0.0, 1.0, 0.0, 0.6, 0.8]))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_f2d_covers_the_image_and_a_cropped_geometry_its_middle(scale):
    """The image is 64 pixels wide at scale 1, the geometry its middle 32; the mask's pixels lie in the image's third quarter."""
    height, width = round(32 * scale), round(64 * scale)
    f2d = torch.eye(4).view(1, 4, 4)  # one cell a quarter
    geometry = dataclasses.replace(Geometry.empty(32, 32), grid=PixelGrid(32, 32, scale, scale, 16 * scale, 0.0))
    labels = torch.zeros(32, 32, dtype=torch.int32)
    labels[:, 20:28] = 1
    assert refined(labels, FeatureMap(f2d, (height, width)), geometry).tolist() == [0.0, 0.0, 1.0, 0.0]
