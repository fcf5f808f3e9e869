"""CUT3R's camera: a pose from seven numbers, and a focal length that projects points to their pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.geometry import find_rigid_fault, unproject
from moonseg3r_core.reconstruction.cut3r.net.heads import make_pose_matrix
from moonseg3r_core.reconstruction.intrinsics import (
    IntrinsicsEstimator,
    estimate_focal_length,
    is_calibrated,
)
from moonseg3r_core.types import PixelGrid


def points_of(focal, height=48, width=64, seed=0):
    """Points (H, W, 3) that a camera of this focal length sees at random depths."""
    depth = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) * 3 + 0.5
    return unproject(depth, torch.tensor([[focal, 0, width // 2], [0, focal, height // 2], [0, 0, 1.0]]))


def test_seven_numbers_are_a_place_and_a_turn():
    half = math.sqrt(0.5)
    pose = make_pose_matrix(torch.tensor([1.0, 2.0, 3.0, half, 0.0, half, 0.0]))  # w x y z: a quarter turn about y
    expected = [[0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
    assert torch.allclose(pose, torch.tensor(expected, dtype=torch.float64), atol=1e-7)
    assert pose.dtype == torch.float64
    assert torch.equal(make_pose_matrix(torch.tensor([0.0, 0, 0, 1, 0, 0, 0])), torch.eye(4, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=7, max_size=7).filter(lambda p: max(map(abs, p[3:])) > 0.01))
def test_any_quaternion_is_a_rigid_pose(numbers):
    assert find_rigid_fault(make_pose_matrix(torch.tensor(numbers)), tolerance=1e-9) is None


@pytest.mark.parametrize("focal", [20.0, 50.0, 300.0])
def test_points_at_their_pixels_give_back_the_focal_length(focal):
    assert float(estimate_focal_length(points_of(focal))) == pytest.approx(focal, rel=1e-4)
    assert float(estimate_focal_length(points_of(focal) * 7)) == pytest.approx(focal, rel=1e-4)


def test_the_principal_point_of_an_odd_size_is_left_of_the_middle():
    assert float(estimate_focal_length(points_of(60.0, 33, 47))) == pytest.approx(60, rel=1e-4)


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_a_third_of_the_points_without_sense_does_not_count(bad):
    points = points_of(50.0)
    points[::3, :, 2] = bad
    assert float(estimate_focal_length(points)) == pytest.approx(50, rel=1e-4)


def test_points_at_wrong_pixels_are_outvoted():
    points = points_of(50.0)
    wrong = torch.rand(48, 64, generator=torch.Generator().manual_seed(1)) < 0.2
    points[wrong] = points[wrong] * torch.tensor([3.0, -2.0, 1.0])
    assert float(estimate_focal_length(points)) == pytest.approx(50, rel=0.02)  # least squares is off by half


def test_no_point_in_front_of_the_camera_tells_nothing():
    assert math.isnan(float(estimate_focal_length(-points_of(50.0))))
    assert math.isnan(float(estimate_focal_length(torch.full((4, 4, 3), math.nan))))


def test_the_estimate_is_the_median_over_frames():
    camera, grid = IntrinsicsEstimator(), PixelGrid(48, 64)
    for focal in (50.0, 52.0, 90.0):
        camera.observe(points_of(focal))
    k = camera.estimate(grid)
    assert k.dtype == torch.float32
    assert torch.allclose(k, torch.tensor([[52.0, 0, 32], [0, 52, 24], [0, 0, 1]]), atol=0.01)


def test_without_a_usable_point_the_camera_sees_sixty_degrees():
    camera = IntrinsicsEstimator()
    for points in (-points_of(50.0), points_of(1.0), points_of(1e4)):  # behind; such lenses there are none
        camera.observe(points)
    k = camera.estimate(PixelGrid(48, 64))
    assert math.degrees(2 * math.atan(32 / float(k[0, 0]))) == pytest.approx(60)


def test_a_grid_of_another_size_starts_anew():
    camera = IntrinsicsEstimator()
    camera.observe(points_of(50.0))
    camera.observe(points_of(70.0, 64, 48))
    assert float(camera.estimate(PixelGrid(64, 48))[0, 0]) == pytest.approx(70, rel=1e-3)
    assert float(camera.estimate(PixelGrid(48, 64))[0, 0]) == pytest.approx(32 / math.tan(math.radians(30)))


def test_zeros_are_no_calibration():
    k = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    assert is_calibrated(k)
    assert not is_calibrated(torch.zeros(3, 3))
    assert not is_calibrated(k * torch.nan)
    assert not is_calibrated(k * torch.tensor([[1.0], [-1], [1]]))
