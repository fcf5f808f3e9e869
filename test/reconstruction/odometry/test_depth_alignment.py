"""Relative depth by landmarks: lines of inverse depth whose scale and shift are known."""

import numpy as np
import pytest
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.odometry.depth_alignment import (
    MIN_LANDMARKS,
    AlignedTracker,
    MetricDepth,
    RelativeDepth,
    apply_line,
    fit_line,
)
from moonseg3r_core.reconstruction.odometry.tracker import TrackedFrame, VisibleLandmarks
from moonseg3r_core.types import PixelGrid

GRID = PixelGrid(30, 40)
TRUE = torch.linspace(1.0, 4.0, 40).expand(30, 40).contiguous()  # metres, a wall that recedes to the right
SURE = np.full(24, 0.05)


def relative(scale=3.0, shift=0.4):
    """What a relative network gives of TRUE, as first depth: one over scale / depth + shift."""
    return 1 / (scale / TRUE + shift)


def landmarks(depths=TRUE, sigma=0.05, step=6):
    rows, columns = np.mgrid[3:30:9, 2:40:step].reshape(2, -1)
    pixels = torch.from_numpy(np.column_stack((columns, rows))).float()
    return VisibleLandmarks(pixels, depths[rows, columns].clone(), torch.full((len(rows),), sigma))


class Sees:
    """A tracker that stands still, notes the depth that it gets, and sees these landmarks."""

    def __init__(self, *seen):
        self.seen, self.got, self.anchors = list(seen), [], []

    def __call__(self, image, depth, intrinsics, grid):
        self.got.append(depth)
        found = self.seen.pop(0)
        pose = torch.eye(4, dtype=torch.float64)
        return TrackedFrame(pose, torch.ones(depth.shape), found is not None, 1, found or VisibleLandmarks.empty())

    def get_anchor_pose(self, anchor):
        self.anchors.append(anchor)

    def list_key_views(self):
        return "key views"

    def reset(self):
        self.got.clear()

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def track(tracker, first):
    tracked = tracker(np.zeros((30, 40, 3), np.uint8), first, torch.eye(3), GRID)
    return first * tracked.ratios


def test_a_line_is_found_where_landmarks_lie_on_one():
    inverse = np.linspace(0.2, 1, 24)
    assert fit_line(inverse, 0.5 * inverse + 0.1, 1e-3 * SURE) == pytest.approx((0.5, 0.1), abs=2e-3)


def test_a_wrong_match_hardly_moves_it():
    inverse = np.linspace(0.2, 1, 24)
    true = 0.5 * inverse + 0.1
    true[[3, 17]] *= (0.2, 4)
    assert fit_line(inverse, true, SURE) == pytest.approx((0.5, 0.1), abs=0.03)


def test_few_landmarks_or_a_turned_line_make_none():
    inverse = np.linspace(0.2, 1, 24)
    few = inverse[: MIN_LANDMARKS - 1]
    assert fit_line(few, few, SURE[: len(few)]) is None
    assert fit_line(inverse, 1.2 - inverse, SURE) is None


def test_landmarks_of_one_depth_change_the_scale_and_keep_the_slope():
    scale, shift = fit_line(np.full(24, 0.5), np.full(24, 0.4), SURE)
    assert (0.5 * scale + shift, scale) == (pytest.approx(0.4, abs=1e-3), pytest.approx(1, abs=1e-3))


def test_a_line_never_makes_depth_infinite_and_leaves_unknown_depth():
    assert apply_line(np.array([0.0, 1, 2, 1e9]), 2, -0.5).tolist() == pytest.approx([0, 1 / 1.5, 2, 100])


def test_a_first_view_has_the_usual_depth_and_range():
    depth = RelativeDepth(0.1).convert(relative())
    assert float(depth.median()) == pytest.approx(2, rel=0.05)
    near, far = (float(depth.quantile(q)) for q in (0.02, 0.98))
    assert far / near == pytest.approx(4, rel=0.02)


def test_the_line_of_a_frame_makes_its_depth_true_and_the_next_ones_start():
    alignment, sees = RelativeDepth(0.1), Sees(landmarks(), landmarks())
    tracker = AlignedTracker(sees, alignment)
    assert not alignment.is_known
    for first in (relative(), relative(scale=2.5, shift=0.6)):
        torch.testing.assert_close(track(tracker, first), TRUE, rtol=0.02, atol=0)
        assert alignment.is_known
    torch.testing.assert_close(sees.got[1], 1 / ((2.5 / TRUE + 0.2) / 3).clamp(min=0.01), rtol=0.06, atol=0)
    assert tracker.get_anchor_pose(7) is None
    assert sees.anchors == [7]
    assert tracker.list_key_views() == "key views"


def test_landmarks_at_the_nets_own_depth_tell_nothing():
    """Their depth is not known by parallax, so that a fit would only repeat what was assumed."""
    alignment = RelativeDepth(0.1)
    track(AlignedTracker(Sees(landmarks(sigma=0.8)), alignment), relative())
    assert not alignment.is_known


def test_a_lost_frame_and_one_without_landmarks_keep_the_line():
    alignment = RelativeDepth(0.1)
    tracker = AlignedTracker(Sees(landmarks(), None, VisibleLandmarks.empty()), alignment)
    depth, before = track(tracker, relative()), alignment.state_dict()["line"]
    track(tracker, relative())
    torch.testing.assert_close(track(tracker, relative()), depth, rtol=0.02, atol=0)
    assert alignment.state_dict()["line"].equal(before)


def test_metric_depth_is_corrected_smoothly():
    tracker = AlignedTracker(Sees(landmarks(1.1 * TRUE)), MetricDepth(0.1))
    first = TRUE.clone()
    first[:, 5] = 0
    found = track(tracker, first)
    assert bool((found[:, 5] == 0).all())
    torch.testing.assert_close(found[:, 6:], 1.1 * TRUE[:, 6:], rtol=0.01, atol=0)


def test_a_saved_line_goes_on_and_a_reset_forgets_it():
    alignment, again = RelativeDepth(0.1), RelativeDepth(0.1)
    fresh = again.state_dict()
    track(AlignedTracker(Sees(landmarks()), alignment), relative())
    again.load_state_dict(alignment.state_dict())
    assert again.is_known
    assert again.convert(relative()).equal(alignment.convert(relative()))
    again.reset()
    assert all(fresh[name].equal(value) for name, value in again.state_dict().items())
    with pytest.raises(InputError, match="line must be in a saved state"):
        again.load_state_dict({})
