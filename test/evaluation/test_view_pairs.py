"""Pairs of views: a wall at 2 m seen from 0.4 m apart, where every error has a known size."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from moonseg3r_core.evaluation.view_pairs import View, ViewPairs
from moonseg3r_core.geometry import unproject

K = torch.tensor([[40.0, 0, 19.5], [0, 40, 14.5], [0, 0, 1]])
UNIT = 0.5  # of the predictions, in metres


def view(x, factor=1.0, estimated=None, depth=2.0):
    """A camera at (x, 0, 0) before a wall, whose predicted depth is `factor` times the true one."""
    true = unproject(torch.full((30, 40), depth), K)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    own = pose.clone() if estimated is None else estimated
    own[:3, 3] *= UNIT
    return View(true, factor * UNIT * true, K, pose, own)


def pair_up(*views):
    pairs = ViewPairs()
    for each in views:
        pairs.add(each)
    return pairs


def test_the_truth_in_another_unit_is_perfect():
    pairs = pair_up(view(0), view(0.4), view(0.8))
    degrees, shifts = pairs.compute_pose_errors()
    assert (degrees.tolist(), shifts.tolist()) == (pytest.approx([0, 0]), pytest.approx([0, 0]))
    assert pairs.compute_disagreements(1 / UNIT) == pytest.approx(0, abs=1e-6)


def test_a_partner_is_the_last_view_that_is_far_enough():
    """At 2 m a tenth is 0.2 m and three tenths 0.6 m."""
    motions = [float(pair.true_motion[0, 3]) for pair in pair_up(view(0), view(0.1), view(0.25), view(0.45)).pairs]
    assert motions == pytest.approx([0.25, 0.2])
    assert not pair_up(view(0), view(0.15)).pairs
    assert not pair_up(view(0), view(0.65)).pairs


def test_depth_that_breathes_disagrees_by_the_log_of_its_ratio():
    pairs = pair_up(view(0), view(0.4, factor=1.1))
    assert pairs.compute_disagreements(1 / UNIT) == pytest.approx(math.log(1.1), abs=1e-6)
    assert pairs.compute_disagreements(7.0) == pytest.approx(math.log(1.1), abs=1e-6)  # sideways no unit matters


def test_a_step_ahead_is_warped_in_the_true_unit():
    """One walks 0.4 m ahead, to a wall at 1.6 m: half of the right unit makes of 0.8 + 0.4 m against 1 m a fifth."""
    ahead = view(0, depth=1.6)
    ahead.true_pose[2, 3] = 0.4
    pairs = pair_up(view(0), ahead)
    assert pairs.compute_disagreements(1 / UNIT) == pytest.approx(0, abs=1e-6)
    assert pairs.compute_disagreements(0.5 / UNIT) == pytest.approx(math.log(1.2), abs=1e-6)


def test_motions_are_off_by_degrees_and_shares_of_the_baseline():
    off = torch.eye(4, dtype=torch.float64)
    off[:3, :3] = torch.from_numpy(Rotation.from_euler("y", 2, degrees=True).as_matrix())
    off[:3, 3] = torch.tensor([1.2, 0.04, 0])  # from 0.8 to 1.2 m: a tenth of the way aside
    degrees, shifts = pair_up(view(0), view(0.4), view(0.8), view(1.2, estimated=off)).compute_pose_errors()
    assert degrees == pytest.approx([0, 0, 2], abs=1e-6)
    assert shifts == pytest.approx([0, 0, 0.1])


def test_another_surface_is_no_pair():
    assert not pair_up(view(0), view(0.4, depth=2.4)).pairs


def test_pixels_without_a_prediction_are_left_out():
    blind = view(0.4, factor=1.1)
    blind.predicted[:, :20] = math.nan
    pairs = pair_up(view(0), blind)
    whole = pair_up(view(0), view(0.4, factor=1.1))
    assert 0 < len(pairs.pairs[0].depths) < len(whole.pairs[0].depths)
    assert pairs.compute_disagreements(1 / UNIT) == pytest.approx(math.log(1.1), abs=1e-6)


def test_nothing_compared_is_empty():
    assert [len(values) for values in pair_up(view(0)).compute_pose_errors()] == [0, 0]
    assert len(pair_up(view(0)).compute_disagreements(1.0)) == 0
