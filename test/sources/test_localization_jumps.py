"""Jumps of map -> odom: what the way since the last one explains moves by degrees, anything else moves all."""

import numpy as np
import pytest

from moonseg3r_core.sources.localization_jumps import JumpFollower


def shift(x, degrees=0.0):
    pose, angle = np.eye(4), np.radians(degrees)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[0, 3] = x
    return pose


def follow(way, *corrections):
    """Follow corrections of odometry at steps of `way` metres; return the jumps."""
    follower, before, jumps = JumpFollower(), None, []
    for t, correction in enumerate(corrections):
        jumps.append(follower.follow(float(t), before, correction, correction @ shift(way * t)))
        before = correction
    return jumps


def test_no_jump_and_a_small_one_move_nothing():
    assert follow(1.0, shift(5), shift(5), shift(5.1), shift(5.1, 3)) == [None] * 4


@pytest.mark.parametrize(("way", "stamps"), [(3.0, [0.0, 2.0]), (0.1, [2.0])])
def test_a_jump_moves_what_the_way_explains(way, stamps):
    jump = follow(way, shift(0), shift(0), shift(0.5, 10), shift(0.5, 10))[2]
    assert jump.moves.stamps.tolist() == stamps
    assert jump.is_drift == (len(stamps) == 2)
    np.testing.assert_allclose(jump.moves.new_from_old[-1], shift(0.5, 10))


def test_the_way_counts_from_the_last_jump_on():
    jumps = follow(2.0, shift(0), shift(0), shift(0.5), shift(0.5), shift(1.0), shift(3.0))
    assert [j and j.moves.stamps.tolist() for j in jumps] == [None, None, [0.0, 2.0], None, [2.0, 4.0], [5.0]]
