"""Anchors by time: a way is bent between known moves, what hangs on it follows, and nothing is told twice."""

import math

import pytest
import torch

from moonseg3r_core.reconstruction.timed_anchors import TimedAnchors, bend, move_poses, turn_partly
from moonseg3r_core.types import TrajectoryMoves


def make_pose(x=0.0, y=0.0, degrees=0.0):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def walk(turn=0.0, steps=20):
    """Poses of a way of steps of 0.25 m, each turning by some degrees."""
    poses, step = [torch.eye(4, dtype=torch.float64)], make_pose(0.25, 0, turn)
    for _ in range(steps):
        poses.append(poses[-1] @ step)
    return torch.stack(poses)


def test_a_share_of_a_turn():
    turns = turn_partly(make_pose(degrees=40)[:3, :3], torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
    for turned, degrees in zip(turns, (0, 10, 40), strict=True):
        torch.testing.assert_close(turned, make_pose(degrees=degrees)[:3, :3])


def test_a_way_that_turned_too_much_is_bent_back():
    true, drifted = walk(4.0), walk(4.5)  # ten degrees off at the end
    back = true[-1] @ torch.linalg.inv(drifted[-1])
    found = bend(drifted, torch.eye(4, dtype=torch.float64), back)
    assert (drifted[-1] - true[-1])[:3, 3].norm() > 0.3
    torch.testing.assert_close(found, true, atol=0.01, rtol=0)
    torch.testing.assert_close(found[-1], true[-1])
    torch.testing.assert_close(found[0], true[0])


def test_a_rigid_move_of_all_bends_nothing():
    move = make_pose(1, 2, 30)
    torch.testing.assert_close(bend(walk(4.0), move, move), move @ walk(4.0))


def test_what_is_before_the_first_and_after_the_last_move_follows_that_one():
    poses, stamps = walk(steps=4), torch.arange(5, dtype=torch.float64)
    moves = TrajectoryMoves(stamps[1:4:2], torch.stack((make_pose(y=1), make_pose(y=3))))
    moved = move_poses(stamps, poses, moves)
    assert moved[:, 1, 3].tolist() == pytest.approx([1, 1, 3, 3, 3])


def see(anchors, stamp, pose, moves=None):
    anchors.follow(moves or TrajectoryMoves.empty())
    return anchors.hang(stamp, pose)


def test_frames_hang_on_anchors_that_are_corrected():
    anchors = TimedAnchors()
    hung = [see(anchors, float(t), make_pose(0.06 * t)) for t in range(6)]
    assert [anchor for anchor, _ in hung] == [1, 1, 2, 2, 3, 3]
    assert all(not len(corrections) for _, corrections in hung)
    moves = TrajectoryMoves(torch.tensor([0.0, 6.0]).double(), torch.stack((make_pose(), make_pose(y=0.5))))
    anchor, told = see(anchors, 6.0, make_pose(0.36, 0.5), moves)
    assert anchor == 4
    assert told.anchors.tolist() == [2, 3]
    assert told.new_from_old[:, 1, 3].tolist() == pytest.approx([0.25, 0.5])
    other = TimedAnchors()
    other.load_state_dict(anchors.state_dict())
    small = TrajectoryMoves(torch.tensor([0.0]).double(), make_pose(y=0.006)[None])
    for one in (anchors, other):
        assert not len(see(one, 7.0, make_pose(0.42, 0.5), small)[1])
        assert see(one, 8.0, make_pose(0.48, 0.5), small)[1].anchors.tolist() == [1, 2, 3, 4]
    other.load_state_dict({})
    assert see(other, 9.0, make_pose())[0] == 1
