"""Scores of depth, path and cloud: cases drawn on paper, then what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from moonseg3r_core.evaluation.metrics.reconstruction import (
    align_poses,
    compute_abs_rel,
    compute_ate,
    compute_delta,
    compute_depth_scale,
    compute_f_score,
    compute_path_length,
    compute_rpe,
    fit_constant_depth,
    measure_cloud_distances,
    thin_points,
)

DEPTHS = st.lists(st.floats(0.2, 10), min_size=1, max_size=30).map(np.array)


def poses(centres, turns=None):
    """Cameras at centres, turned about y by degrees."""
    result = torch.eye(4, dtype=torch.float64).repeat(len(centres), 1, 1)
    result[:, :3, 3] = torch.tensor(centres, dtype=torch.float64)
    if turns is not None:
        result[:, :3, :3] = torch.from_numpy(
            Rotation.from_euler("y", np.array(turns)[:, None], degrees=True).as_matrix()
        )
    return result


SQUARE = poses([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)])


def test_one_scale_is_the_median_ratio():
    predicted, true = np.array([1.0, 2, 4]), np.array([2.0, 4, 12])
    assert compute_depth_scale(predicted, true) == 2
    assert compute_abs_rel(2 * predicted, true) == pytest.approx(1 / 9)  # 8 for 12, the others right
    assert compute_delta(2 * predicted, true) == pytest.approx(2 / 3)


def test_delta_is_strict_and_looks_both_ways():
    assert compute_delta(np.array([1.25, 1.24, 0.8, 0.81]), np.ones(4)) == 0.5


def test_a_point_behind_the_camera_is_wrong_and_says_nothing_of_the_scale():
    predicted, true = np.array([-1.0, -1, -1, 0, 1, 1]), np.array([1.0, 1, 1, 1, 2, 2])
    assert compute_depth_scale(predicted, true) == 2
    assert compute_delta(2 * predicted, true) == pytest.approx(2 / 6)
    assert compute_abs_rel(2 * predicted, true) == pytest.approx((3 + 3 + 3 + 1) / 6)


def test_nothing_compared_is_nan():
    none = np.zeros(0)
    assert all(
        math.isnan(x) for x in (compute_depth_scale(none, none), compute_abs_rel(none, none), compute_delta(none, none))
    )
    assert math.isnan(fit_constant_depth(none))


def test_the_constant_guess_leans_to_the_near():
    assert fit_constant_depth(np.array([4.0, 1, 1])) == 1
    # Weights 1, 1/4, 1/4, 1/4, 1/4, 1/4: the mean is 3.5, the plain median 4.
    assert fit_constant_depth(np.array([1.0, 4, 4, 4, 4, 4])) == 4
    assert fit_constant_depth(np.array([1.0, 4, 4, 4])) == 1


@settings(max_examples=25)
@given(DEPTHS, st.floats(0.01, 100))
def test_the_unit_of_a_prediction_does_not_matter(true, unit):
    predicted = true * np.linspace(0.8, 1.3, len(true))
    scores = [compute_abs_rel(compute_depth_scale(p, true) * p, true) for p in (predicted, unit * predicted)]
    assert scores[0] == pytest.approx(scores[1])


def test_a_bent_square_has_an_error_that_can_be_drawn():
    """Corners 1 m above and below their places in turn: the best scale is 1 / (1 + 1), and half of both is left."""
    bent = SQUARE.clone()
    bent[:, 2, 3] = torch.tensor([1.0, -1, 1, -1])
    laid = align_poses(bent, SQUARE)
    assert torch.allclose(laid[:, :3, 3], 0.5 * bent[:, :3, 3])
    assert compute_ate(laid, SQUARE) == pytest.approx(math.sqrt(0.5))


def test_a_still_camera_has_the_spread_of_the_path_as_its_error():
    still = SQUARE[:1].expand_as(SQUARE)
    laid = align_poses(still, SQUARE)
    assert compute_ate(laid, SQUARE) == pytest.approx(1)
    assert compute_rpe(laid, SQUARE) == (pytest.approx(math.sqrt(2)), 0)  # a side of the square in each step
    assert compute_path_length(SQUARE) == pytest.approx(3 * math.sqrt(2))


def test_steps_are_compared_in_the_camera_they_start_from():
    straight = poses([(0, 0, 0), (0, 0, 1), (0, 0, 2)])
    assert compute_rpe(straight, straight) == (0, 0)
    longer = poses([(0, 0, 0), (0, 0, 1.1), (0, 0, 2.2)])
    assert compute_rpe(longer, straight) == (pytest.approx(0.1), 0)
    # A first step turned by 30 degrees on arrival: the second sets out 30 degrees astray, as a chord of 2 sin 15.
    turned = poses([(0, 0, 0), (0, 0, 1), (0, 0, 2)], [0, 30, 30])
    chord = 2 * math.sin(math.radians(15))
    assert compute_rpe(turned, straight) == (pytest.approx(chord / math.sqrt(2)), pytest.approx(30 / math.sqrt(2)))


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_another_world_and_unit_change_no_error(seed, unit):
    rng = np.random.default_rng(seed)
    true, estimated = (poses(rng.normal(size=(8, 3)), rng.normal(0, 40, 8)) for _ in range(2))
    estimated[:, :3, 3] = true[:, :3, 3] + 0.3 * estimated[:, :3, 3]
    world = torch.eye(4, dtype=torch.float64)
    world[:3, :3] = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    world[:3, 3] = torch.from_numpy(rng.normal(size=3))
    elsewhere = estimated.clone()
    elsewhere[:, :3, 3] *= unit
    elsewhere = world @ elsewhere
    one, two = align_poses(estimated, true), align_poses(elsewhere, true)
    assert compute_ate(one, true) == pytest.approx(compute_ate(two, true))
    assert compute_rpe(one, true) == pytest.approx(compute_rpe(two, true))


def test_distances_go_both_ways():
    predicted = np.array([[0.0, 0, 0], [1, 0, 0]])
    true = np.array([[0.0, 0, 0.1], [0, 0, 0.2], [0, 2, 0]])
    accuracy, completeness = measure_cloud_distances(predicted, true)
    assert accuracy == pytest.approx([0.1, math.sqrt(1.01)])
    assert completeness == pytest.approx([0.1, 0.2, 2])


def test_f_score_is_the_harmonic_mean_of_the_shares():
    assert compute_f_score(np.array([0.1, 1.0]), np.array([0.1, 0.2, 2.0]), 0.15) == pytest.approx(
        2 * (1 / 2) * (1 / 3) / (5 / 6)
    )
    assert compute_f_score(np.array([1.0]), np.array([1.0]), 0.5) == 0


def test_an_empty_prediction_is_infinitely_incomplete():
    accuracy, completeness = measure_cloud_distances(np.zeros((0, 3)), np.zeros((2, 3)))
    assert (len(accuracy), completeness.tolist()) == (0, [math.inf, math.inf])
    assert compute_f_score(accuracy, completeness, 0.05) == 0


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(0, 40))
def test_parts_thinned_and_joined_are_the_whole_thinned(seed, cut):
    points = np.random.default_rng(seed).normal(size=(40, 3))
    parts = [thin_points(part, 0.5) for part in (points[:cut], points[cut:])]
    assert np.array_equal(thin_points(np.concatenate(parts), 0.5), thin_points(points, 0.5))
