"""Depth carried into another view."""

import pytest
import torch

from moonseg3r_core.reconstruction.multi_view.carry import carry_depth, fuse_depth

K = torch.tensor([[10.0, 0.0, 3.5], [0.0, 10.0, 2.5], [0.0, 0.0, 1.0]])[None]


def move(x=0.0, z=0.0):
    pose = torch.eye(4)[None]
    pose[0, 0, 3], pose[0, 2, 3] = x, z
    return pose


def carry(depth, pose):
    return carry_depth(depth[None], torch.full_like(depth, 0.1)[None], pose, K)


def test_a_view_that_did_not_move_keeps_its_depth_and_spread():
    depth = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) + 1
    carried, spread = carry(depth, move())
    assert torch.allclose(carried[0], torch.minimum(depth, carried[0]), atol=1e-5)  # a near neighbour may cover a pixel
    assert (carried > 0).all()
    assert torch.allclose(spread, torch.tensor(0.1))


def test_a_wall_moves_by_whole_pixels_and_comes_nearer():
    wall = torch.full((6, 8), 2.0)
    carried, _ = carry(wall, move(x=0.2))  # 10 px * 0.2 / 2: one to the right
    assert (carried[0][:, 0] == 0).all()
    assert torch.allclose(carried[0][:, 1:], torch.tensor(2.0))
    nearer, _ = carry(wall, move(z=-0.5))
    assert torch.allclose(nearer[nearer > 0], torch.tensor(1.5))


def test_the_nearer_of_two_points_stays():
    depth = torch.full((6, 8), 4.0)
    depth[:, 3] = 1.0
    carried, _ = carry(depth, move(x=0.4))  # the far wall moves by 1, the post by 4
    assert torch.allclose(carried[0][:, 7], torch.tensor(1.0))
    assert torch.allclose(carried[0][:, 2], torch.tensor(4.0))


def test_unknown_depth_and_points_behind_the_view_do_not_arrive():
    depth = torch.full((6, 8), 2.0)
    depth[0] = 0.0
    carried, spread = carry(depth, move())
    assert (carried[0][0] == 0).all()
    assert (spread[0][0] == 0).all()
    assert not carry(depth, move(z=-3.0))[0].any()


def fuse(depth, spread, carried, carried_spread):
    return [
        part.item() for part in fuse_depth(*(torch.tensor([[x]]) for x in (depth, spread, carried, carried_spread)))
    ]


def test_two_measurements_of_one_surface_meet_between_them_the_nearer_the_surer():
    depth, spread = fuse(1.0, 0.1, 1.1, 0.08)  # the carried one's spread grows to 0.1
    assert depth == pytest.approx(1.1**0.5)
    assert spread == pytest.approx(0.1 / 2**0.5)
    assert fuse(1.0, 0.2, 1.1, 0.03)[0] > 1.09
    assert fuse(1.0, 0.02, 1.02, 0.3)[0] < 1.001


def test_another_surface_and_no_depth_change_nothing():
    assert fuse(1.0, 0.05, 2.0, 0.05) == pytest.approx([1.0, 0.05])
    assert fuse(1.0, 0.05, 0.0, 0.0) == pytest.approx([1.0, 0.05])
