"""Features of an image, their rays, and matches between two images."""

import numpy as np
import pytest
import torch

from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.reconstruction.intrinsics import compute_grid_intrinsics
from moonseg3r_core.reconstruction.odometry.features import DESCRIPTOR_SIZE, Detector, match_descriptors, sample_depth
from moonseg3r_core.types import PixelGrid

K = torch.tensor([[300.0, 0, 160], [0, 280, 118], [0, 0, 1]])
TEXTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)  # 240 x 320


def found(image, side=128, depth=None):
    """Features of an image on the net's grid of that side, 2 m away where nothing else is said."""
    _, grid = fit_image(image, side)
    depth = np.full((grid.height, grid.width), 2.0, np.float32) if depth is None else depth
    return Detector()(image, depth, compute_grid_intrinsics(K, grid).numpy().astype(np.float64), grid)


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
    seen = Detector()(large, np.ones((96, 128), np.float32), compute_grid_intrinsics(double, grid).numpy(), grid)
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
    seen = Detector()(TEXTURE, np.ones((96, 128), np.float32), compute_grid_intrinsics(K, middle).numpy(), middle)
    places = seen.rays * (300, 280) + (160, 118)
    assert len(places) > 20
    assert (places >= (95.5 - 1e-3, 71.5 - 1e-3)).all()
    assert (places <= (223.5 + 1e-3, 167.5 + 1e-3)).all()


def test_a_plain_picture_has_none():
    nothing = found(np.full((240, 320, 3), 90, np.uint8))
    assert [a.shape for a in (nothing.rays, nothing.descriptors, nothing.depths)] == [
        (0, 2),
        (0, DESCRIPTOR_SIZE),
        (0,),
    ]
    assert nothing.focal == pytest.approx(300)


def test_descriptors_are_all_of_one_length():
    """Square roots of shares."""
    lengths = np.linalg.norm(found(TEXTURE).descriptors.astype(float), axis=1)
    assert np.allclose(lengths, 255, atol=3)


def test_depth_is_that_of_the_nearest_pixel_and_0_beyond():
    depth = np.array([[1.0, 2], [3, 4]])
    places = np.array([[0, 0], [0.6, 0.4], [0.4, 0.6], [1.4, 1.4], [1.6, 0], [-0.6, 0], [0, 5]])
    assert sample_depth(places, depth).tolist() == [1, 2, 3, 4, 0, 0, 0]
    assert sample_depth(np.zeros((0, 2)), depth).shape == (0,)


def rows(*places):
    """Descriptors: at place p, p is 100; p + 0.5 is between two."""
    out = np.zeros((len(places), DESCRIPTOR_SIZE), np.uint8)
    for row, place in zip(out, places, strict=True):
        row[int(place)] += round(100 * (1 - place % 1))
        row[int(place) + 1] += round(100 * (place % 1))
    return out


def test_alike_are_matched_in_whatever_order():
    one, other = match_descriptors(rows(3, 10, 20), rows(20, 40, 3, 10))
    assert one.tolist() == [0, 1, 2]
    assert other.tolist() == [2, 3, 0]


def test_one_that_two_are_like_is_matched_with_the_nearer_alone():
    one, other = match_descriptors(rows(3.3, 3.1, 50), rows(3, 50))
    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == [(1, 0), (2, 1)]


def test_one_that_is_like_two_is_not_matched():
    one, other = match_descriptors(rows(3.5, 50), rows(3, 4, 50))
    assert (one.tolist(), other.tolist()) == ([1], [2])
    same, _ = match_descriptors(rows(3, 50), rows(3, 3, 60))
    assert 0 not in same


def test_too_few_are_not_matched():
    for few, some in ((rows(), rows(3, 4)), (rows(3, 4), rows()), (rows(3, 4), rows(3))):
        one, other = match_descriptors(few, some)
        assert (len(one), len(other)) == (0, 0)


def test_what_repeats_is_matched_where_only_one_is_near():
    one, other = rows(3, 3, 50), rows(50, 3, 3)
    assert [m.tolist() for m in match_descriptors(one, other)] == [[2], [0]]
    near = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], bool)
    assert [m.tolist() for m in match_descriptors(one, other, near)] == [[0, 1, 2], [2, 1, 0]]


def test_a_match_is_one_from_either_side():
    a, b = np.random.default_rng(1).integers(0, 60, (2, 50, DESCRIPTOR_SIZE)).astype(np.uint8)
    b[:30] = a[10:40] + np.random.default_rng(2).integers(0, 9, (30, DESCRIPTOR_SIZE)).astype(np.uint8)
    one, other = match_descriptors(a, b)
    back, there = match_descriptors(b, a)
    assert set(zip(one, other, strict=True)) >= {(10 + i, i) for i in range(30)}
    assert set(zip(one, other, strict=True)) == set(zip(there, back, strict=True))


def test_a_picture_that_moved_is_matched_where_it_moved_to():
    here, there = found(TEXTURE), found(np.roll(TEXTURE, 30, axis=1))
    one, other = match_descriptors(here.descriptors, there.descriptors)
    moved = (there.rays[other] - here.rays[one]) * (300, 280)
    assert len(one) > 100
    assert (np.abs(moved - (30, 0)).max(1) < 1).mean() > 0.9
