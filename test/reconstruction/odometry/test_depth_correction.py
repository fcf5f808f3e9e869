"""A net's depth corrected at known points: plain cases, then invariances."""

import numpy as np
import pytest

from moonseg3r_core.reconstruction.odometry.depth_correction import estimate_depth_ratios
from moonseg3r_core.reconstruction.odometry.features import sample_depth

H, W = 96, 128
FLAT = np.full((H, W), 2.0, np.float32)
TWO = np.where(np.arange(W) < 64, 1.0, 4.0).astype(np.float32) * np.ones((H, 1), np.float32)


def everywhere(step=8):
    """Places (n, 2) all over the picture."""
    v, u = np.mgrid[step // 2 : H : step, step // 2 : W : step]
    return np.column_stack((u.ravel(), v.ravel())).astype(float)


def ratios(places, logs, spreads, depth):
    """Of points whose net's depth is the picture's."""
    return estimate_depth_ratios(places, sample_depth(places, depth), logs, spreads, depth)


def sure(places, spread=0.03):
    return np.full(len(places), spread)


@pytest.mark.parametrize("count", [1, 3, 192])
def test_of_equal_ratios_it_is_theirs_everywhere(count):
    places = everywhere()[:count]
    field = ratios(places, np.full(count, np.log(1.3)), sure(places), TWO)
    assert field.dtype == np.float32
    assert field == pytest.approx(np.full((H, W), 1.3), rel=1e-5)


def test_a_ratio_that_holds_in_one_place_is_kept_there():
    places = everywhere()
    there = np.linalg.norm(places - (100, 30), axis=1) < 15
    field = ratios(places, np.where(there, np.log(1.25), 0.0), sure(places), FLAT)
    assert field[30, 100] == pytest.approx(1.25, abs=0.06)
    v, u = np.mgrid[:H, :W]
    far = np.hypot(u - 100, v - 30) > 45
    assert field[far] == pytest.approx(1, abs=0.02)


def test_what_lies_behind_has_a_ratio_of_its_own():
    places = everywhere()
    field = ratios(places, np.where(places[:, 0] < 64, np.log(1.3), np.log(0.8)), sure(places), TWO)
    assert field[:, :62] == pytest.approx(1.3, abs=0.03)
    assert field[:, 66:] == pytest.approx(0.8, abs=0.06)


def test_where_no_point_is_near_it_is_the_usual_ratio():
    places = np.array([[5.0, 5], [9, 5], [5, 9], [9, 9], [7, 7]])
    field = ratios(places, np.log([1.1, 1.2, 1.2, 1.2, 1.4]), sure(places), FLAT)
    assert field[H - 1, W - 1] == pytest.approx(1.2, rel=1e-4)


def test_the_more_certain_point_counts_more():
    places = np.array([[60.0, 40], [61, 40], [20, 80], [100, 80], [20, 10]])
    logs, spreads = np.log([1.2, 0.5, 1.0, 1.0, 1.0]), np.array([0.02, 2.0, 0.02, 0.02, 0.02])
    field = ratios(places, logs, spreads, FLAT)
    assert field[40, 60] == pytest.approx(1.2, abs=0.02)


def test_of_many_points_in_one_place_the_most_certain_are_used():
    places = np.concatenate((everywhere(6)[:250], np.full((4000, 2), 60.0)))
    logs = np.concatenate((np.full(250, 0.1), np.full(4000, 3.0)))
    spreads = np.concatenate((np.linspace(0.01, 0.1, 250), np.full(4000, 0.3)))
    assert ratios(places, logs, spreads, TWO)[0, 0] == pytest.approx(np.exp(0.1), rel=0.01)


def test_points_are_taken_from_all_over_the_image():
    """Far more certain ones in a corner leave room for the others."""
    places = np.concatenate((everywhere(6)[-100:], np.random.default_rng(0).uniform(0, 8, (1000, 2))))
    logs = np.concatenate((np.full(100, 0.3), np.zeros(1000)))
    spreads = np.concatenate((np.full(100, 0.1), np.full(1000, 0.01)))
    column, row = places[0].astype(int)
    assert ratios(places, logs, spreads, TWO)[row, column] == pytest.approx(np.exp(0.3), rel=0.03)


def test_the_order_of_points_and_the_unit_of_depth_do_not_matter():
    rng = np.random.default_rng(0)
    places, depth = everywhere(), TWO * np.exp(rng.normal(0, 0.1, (H, W))).astype(np.float32)
    logs, spreads = rng.normal(0, 0.2, len(places)), rng.uniform(0.01, 0.3, len(places))
    field = ratios(places, logs, spreads, depth)
    other = rng.permutation(len(places))
    assert ratios(places[other], logs[other], spreads[other], depth) == pytest.approx(field, abs=1e-3)
    assert ratios(places, logs, spreads, depth * 7) == pytest.approx(field, abs=1e-3)


def test_where_no_depth_is_known_it_is_a_number_and_the_rest_is_as_it_was():
    places = everywhere()
    holed = FLAT.copy()
    holed[40:60, 70:90] = 0
    known = holed[tuple(places.astype(int).T[::-1])] > 0
    logs = np.log(1.2) * (places[:, 0] > 64)
    field = ratios(places[known], logs[known], sure(places)[known], holed)
    assert np.isfinite(field).all()
    assert (field > 0).all()
    whole = ratios(places[known], logs[known], sure(places)[known], FLAT)
    assert field[:38] == pytest.approx(whole[:38], abs=1e-4)


def test_a_smooth_error_of_the_net_is_taken_back():
    v, u = np.mgrid[:H, :W]
    off = 0.2 * np.sin(u / 25) * np.cos(v / 30)
    depth, places = (TWO * np.exp(-off)).astype(np.float32), everywhere(12)
    columns, rows = places.astype(int).T
    left = np.abs(np.log(ratios(places, off[rows, columns], sure(places), depth)) - off)
    inside = np.abs(u - 63.5) > 2
    assert left[inside].mean() < 0.1 * np.abs(off).mean()


def test_what_a_point_tells_holds_at_the_depth_that_is_known_there():
    """And not at that of the picture's pixel, which may lie across an edge."""
    places, known = np.array([[63.0, 40], [70, 40]]), np.array([4.0, 1.0])
    field = estimate_depth_ratios(places, known, np.log([1.3, 0.8]), sure(places), TWO)
    assert field[40, 66] > 1.1
    assert field[40, 61] < 0.9
