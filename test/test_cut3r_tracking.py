"""Poses by matched features at the net's depth: exact small cases, then walks through rendered rooms with exact depth."""

import numpy as np
import pytest
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.image import fit, grid_intrinsics
from moonseg3r_core.reconstruction.cut3r.tracking import Tracker, depth_ratio, lifted, moved, solve
from moonseg3r_core.synthetic import SyntheticSequence

K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])


@pytest.fixture(scope="module")
def walk():
    """Frames of a room, each with what the tracker is given: image, depth on the net's grid, intrinsics, grid."""
    frames = list(SyntheticSequence(3, 160, 120, 160)[:12])
    given = []
    for frame in frames:
        _, grid = fit(frame.image, 128)
        rows = torch.arange(grid.height) * grid.scale_v + grid.offset_v
        columns = torch.arange(grid.width) * grid.scale_u + grid.offset_u
        depth = frame.depth[rows.round().long()][:, columns.round().long()]
        given.append((frame.image, depth, grid_intrinsics(frame.intrinsics, grid), grid))
    poses = torch.stack([frame.world_from_camera for frame in frames])
    return given, torch.linalg.inv(poses[0]) @ poses


def test_places_are_lifted_along_their_rays():
    points = lifted(np.array([[64.0, 48.0], [114.0, 48.0], [0.0, 0.0]]), np.full((96, 128), 2.0), K)
    assert np.allclose(points, [[0, 0, 2], [1, 0, 2], [-1.28, -0.96, 2]])
    assert lifted(np.zeros((0, 2)), np.ones((4, 4)), K).shape == (0, 3)


def test_a_pose_is_solved_though_a_third_of_the_matches_are_wrong():
    rng = np.random.default_rng(0)
    pose = np.eye(4)
    pose[:3, 3] = 0.3, -0.1, 0.2
    camera = rng.uniform([-1, -1, 1.5], [1, 1, 4], (60, 3))
    pixels = camera[:, :2] / camera[:, 2:] * 100 + K[:2, 2]
    world = moved(camera, pose)
    world[:20] += rng.uniform(0.5, 1, (20, 3))
    found, rows = solve(world, pixels, K, 1.0)
    assert np.allclose(found, pose, atol=1e-3)
    assert set(rows) >= set(range(20, 60))


def test_too_few_matches_give_no_pose():
    assert solve(np.ones((5, 3)), np.ones((5, 2)), K, 1.0) is None


def test_a_frame_of_half_the_unit_has_twice_the_scale_and_an_odd_one_none():
    points = np.array([[0.0, 0, 2], [0, 1, 4], [1, 0, 3]])
    assert depth_ratio(np.eye(4), points, points / 1.5) == pytest.approx(1.5)
    assert depth_ratio(np.eye(4), points, points / 3) is None
    assert depth_ratio(np.eye(4), points[:0], points[:0]) is None


def test_a_walk_at_exact_depth_is_tracked_to_a_decimetre(walk):
    given, truth = walk
    tracker = Tracker()
    tracked = [tracker(*frame) for frame in given]
    assert all(t.found for t in tracked)
    errors = torch.stack([t.pose[:3, 3] for t in tracked]) - truth[:, :3, 3]
    assert errors.norm(dim=1).max() < 0.1
    assert all(t.scale == pytest.approx(1, abs=0.1) for t in tracked)


def test_the_unit_is_that_of_the_first_frame(walk):
    """A net that sees everything nearer by a quarter from the third frame on is scaled back."""
    given, _ = walk
    tracker = Tracker()
    tracked = [tracker(image, depth * (0.75 if n > 1 else 1), *rest) for n, (image, depth, *rest) in enumerate(given)]
    assert [t.scale for t in tracked[2:]] == pytest.approx([4 / 3] * (len(given) - 2), abs=0.15)


def test_a_frame_of_which_nothing_is_recognised_goes_on_as_before_and_the_next_is_found_again(walk):
    given, truth = walk
    tracker = Tracker()
    for frame in given[:4]:
        tracker(*frame)
    image, *rest = given[4]
    lost = tracker(torch.full_like(image, 90), *rest)
    assert not lost.found
    assert (lost.pose[:3, 3] - truth[4, :3, 3]).norm() < 0.3
    again = tracker(*given[5])
    assert again.found
    assert (again.pose[:3, 3] - truth[5, :3, 3]).norm() < 0.1


def test_a_tracker_taken_out_and_put_back_goes_on_alike(walk):
    given, _ = walk
    one, two = Tracker(), Tracker()
    for frame in given[:5]:
        one(*frame)
    two.load_state_dict(one.state_dict())
    for frame in given[5:8]:
        a, b = one(*frame), two(*frame)
        assert torch.allclose(a.pose, b.pose)
        assert a.scale == pytest.approx(b.scale)


def test_a_tracker_that_saw_nothing_is_saved_too():
    two = Tracker()
    two.load_state_dict(Tracker().state_dict())
    assert not two.state_dict()["points"].numel()


def test_a_damaged_state_is_refused(walk):
    tracker = Tracker()
    tracker(*walk[0][0])
    state = tracker.state_dict()
    with pytest.raises(InputError):
        Tracker().load_state_dict(state | {"points": state["points"][:-1]})


def test_it_starts_anew_after_a_reset(walk):
    tracker = Tracker()
    for frame in walk[0][:3]:
        tracker(*frame)
    tracker.reset()
    assert torch.equal(tracker(*walk[0][5]).pose, torch.eye(4, dtype=torch.float64))
