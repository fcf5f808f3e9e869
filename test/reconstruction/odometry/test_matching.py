"""Matches between descriptors: anywhere, where they may be, and near where points are expected."""

import numpy as np

from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK, Candidates
from moonseg3r_core.reconstruction.odometry.features import SIFT_SIZE, Features
from moonseg3r_core.reconstruction.odometry.matching import find_near, match_descriptors, match_near


def rows(*places):
    """Descriptors: at place p, p is 1; p + 0.5 is between two."""
    out = np.zeros((len(places), SIFT_SIZE), np.float16)
    for row, place in zip(out, places, strict=True):
        row[int(place)], row[int(place) + 1] = np.sqrt(1 - place % 1), np.sqrt(place % 1)
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
    a, b = np.random.default_rng(1).normal(0, 1, (2, 50, SIFT_SIZE))
    b[:30] = a[10:40] + np.random.default_rng(2).normal(0, 0.1, (30, SIFT_SIZE))
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b))
    one, other = match_descriptors(a, b)
    back, there = match_descriptors(b, a)
    assert set(zip(one, other, strict=True)) >= {(10 + i, i) for i in range(30)}
    assert set(zip(one, other, strict=True)) == set(zip(there, back, strict=True))


def test_points_are_near_within_a_radius_and_never_where_they_are_not_finite():
    near = find_near(np.array([[0.0, 0], [1, 0]]), np.array([[0.3, 0], [1, 0.4], [np.inf, 0], [5, 5]]), 0.5)
    assert near.tolist() == [[True, False, False, False], [False, True, False, False]]
    assert find_near(np.zeros((0, 2)), np.zeros((3, 2)), 1).shape == (0, 3)


def known(descriptors, views):
    """Points at the origin, as views show them."""
    zeros = np.zeros((len(descriptors), 3))
    none = np.full(len(descriptors), NO_LANDMARK)
    return Candidates(zeros, zeros, np.zeros(len(descriptors)), descriptors, none, np.array(views))


def test_a_feature_is_matched_once_with_each_view_that_shows_its_point_near():
    seen = Features(np.array([[0.0, 0], [1, 0]]), rows(3, 3), np.ones(2), 1.0)
    points = known(rows(3.2, 3, 3, 50), [0, 0, 1, 1])
    projected = np.array([[0.1, 0], [0, 0.1], [0, 0], [0, 0]])
    one, other = match_near(seen, points, projected, 0.5)
    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == [(0, 1), (0, 2)]
    assert len(match_near(seen, points, np.full((4, 2), np.inf), 0.5)[0]) == 0
