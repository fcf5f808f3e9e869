"""The losses of the reconstruction net: values computed by hand and gradients; its scores on held-out rooms."""

import math
from dataclasses import replace

import pytest
import torch
from training_toys import SIZES, TOY

from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, Outputs
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data.augment import mirror
from moonseg3r_core.training.reconstruction.heldout import HeldOut, compute_walk_scores
from moonseg3r_core.training.reconstruction.losses import ALPHA, Truth, compute_point_loss, compute_pose_loss
from moonseg3r_core.training.reconstruction.unroll import LOSS_WEIGHTS, UnrolledNet, compute_losses, unroll

SMOOTH = 1e-3  # what a distance of zero counts, so that it has a gradient
ONE_PIXEL = torch.ones(1, 1, 1, 1, dtype=torch.bool)


def turn(degrees):
    """A pose (4, 4) turned about z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def clip(seed=0, frames=3, height=4, width=6):
    """Depth, intrinsics and poses of a batch of two clips, some depth unknown."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + torch.rand(2, frames, height, width, generator=generator)
    depth[:, :, 0, 0] = 0
    poses = torch.stack([turn(20.0 * number) for number in range(frames)]).repeat(2, 1, 1, 1)
    poses[..., :3, 3] = torch.randn(2, frames, 3, generator=generator)
    return depth, make_intrinsics(height, width, 70.0).expand(2, 3, 3), poses


def make_perfect_outputs(truth):
    """The outputs of a perfect net, with confidence 1, whose log is 0."""
    one = torch.ones(truth.valid.shape)
    quaternion = torch.stack(
        [torch.linalg.eigh(_davenport(pose[:3, :3]))[1][:, -1] for pose in truth.poses.flatten(0, 1)]
    )
    pose = torch.cat((truth.poses.flatten(0, 1)[:, :3, 3], quaternion), -1).unflatten(0, truth.poses.shape[:2])
    return {
        "self_points": truth.self_points, "self_confidence": one, "world_points": truth.world_points,
        "world_confidence": one, "pose": pose,
    }  # fmt: skip


def _davenport(r):
    """The matrix whose first eigenvector is the rotation's quaternion w x y z, of either sign (Davenport's q-method)."""
    z = torch.stack((r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]))
    k = torch.zeros(4, 4)
    k[0, 0], k[0, 1:], k[1:, 0] = r.trace(), z, z
    k[1:, 1:] = r + r.T - r.trace() * torch.eye(3)
    return k


def distance(error, confidence, length=1.0):
    points = torch.zeros(1, 1, 1, 1, 3)
    points[..., 0] = error
    return compute_point_loss(
        points, torch.full((1, 1, 1, 1), confidence), torch.zeros_like(points), ONE_PIXEL, torch.tensor([length])
    )


def test_a_pixel_costs_its_distance_over_the_length_times_confidence():
    assert distance(3.0, 1.0).item() == pytest.approx(3.0)
    assert distance(3.0, 1.0, length=2.0).item() == pytest.approx(1.5)
    assert distance(3.0, 4.0).item() == pytest.approx(12 - ALPHA * math.log(4))


def test_the_best_confidence_of_an_error_is_alpha_over_it():
    error = 0.05
    confidence = torch.tensor(ALPHA / error).reshape(1, 1, 1, 1).requires_grad_()
    points, zero = torch.tensor([error, 0, 0]).reshape(1, 1, 1, 1, 3), torch.zeros(1, 1, 1, 1, 3)
    compute_point_loss(points, confidence, zero, ONE_PIXEL, torch.ones(1)).backward()
    assert confidence.grad.item() == pytest.approx(0, abs=1e-6)
    best = distance(error, ALPHA / error)
    assert best < distance(error, 0.9 * ALPHA / error)
    assert best < distance(error, 1.1 * ALPHA / error)


def test_what_is_unknown_does_not_count():
    points, valid = torch.zeros(1, 1, 1, 2, 3), torch.tensor([True, False]).reshape(1, 1, 1, 2)
    points[0, 0, 0, 0, 0], points[0, 0, 0, 1, 0] = 1.0, 1e6
    args = torch.ones(1, 1, 1, 2), torch.zeros_like(points)
    assert compute_point_loss(points, *args, valid, torch.ones(1)).item() == pytest.approx(1.0)
    assert compute_point_loss(points, *args, torch.zeros_like(valid), torch.ones(1)).item() == 0


def test_the_gradients_are_those_of_the_formulas():
    torch.manual_seed(0)
    points, truth = (torch.randn(1, 2, 2, 2, 3, dtype=torch.float64) for _ in range(2))
    confidence, valid = 1 + torch.rand(1, 2, 2, 2, dtype=torch.float64), torch.rand(1, 2, 2, 2) > 0.3
    length = torch.tensor([2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, c: compute_point_loss(p, c, truth, valid, length),
        (points.requires_grad_(), confidence.requires_grad_()),
    )
    pose = torch.randn(1, 2, 7, dtype=torch.float64).requires_grad_()
    poses = torch.stack([turn(10), turn(200)])[None].double()
    assert torch.autograd.gradcheck(lambda p: compute_pose_loss(p, poses, length), (pose,))


@pytest.mark.parametrize("degrees", [0, 90, 179, 181, 200, 300])
def test_a_quaternion_and_its_negative_are_the_same_turn(degrees):
    half = math.radians(degrees) / 2
    pose = torch.tensor([0, 0, 0, math.cos(half), 0, 0, math.sin(half)])
    for sign in (1, -1):
        signed = torch.cat((pose[:3], sign * pose[3:]))[None, None]
        assert compute_pose_loss(signed, turn(degrees)[None, None], torch.ones(1))[1].item() == pytest.approx(
            SMOOTH, rel=0.01
        )


def test_a_pose_costs_its_distance_over_the_length_and_that_of_the_quaternions():
    pose = torch.tensor([3.0, 4.0, 0, 1, 0, 0, 0])[None, None]
    translation, rotation = compute_pose_loss(pose, turn(180)[None, None], torch.tensor([2.0]))
    assert translation.item() == pytest.approx(2.5)
    assert rotation.item() == pytest.approx(math.sqrt(2))


def test_the_truth_is_that_of_the_plain_geometry():
    depth, intrinsics, poses = clip()
    truth = Truth.from_depth(depth, intrinsics, poses)
    for b in range(2):
        for t in range(3):
            seen = unproject(depth[b, t], intrinsics[b])
            torch.testing.assert_close(truth.self_points[b, t], seen)
            there = transform(seen, torch.linalg.inv(poses[b, 0]) @ poses[b, t])
            torch.testing.assert_close(truth.world_points[b, t], there)
        known = truth.world_points[b][depth[b] > 0]
        assert truth.length[b].item() == pytest.approx(known.norm(dim=-1).mean().item(), rel=1e-5)
    assert torch.equal(truth.valid, depth > 0)


def test_where_the_world_lies_changes_nothing():
    depth, intrinsics, poses = clip()
    moved = turn(70)
    moved[:3, 3] = torch.tensor([1.0, -2, 0.5])
    here, there = Truth.from_depth(depth, intrinsics, poses), Truth.from_depth(depth, intrinsics, moved @ poses)
    torch.testing.assert_close(here.world_points, there.world_points, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(here.poses, there.poses, atol=1e-5, rtol=1e-5)


def test_perfect_outputs_cost_nothing():
    truth = Truth.from_depth(*clip())
    parts = compute_losses(make_perfect_outputs(truth), truth)
    assert parts["self"].item() == parts["world"].item() == 0
    assert parts["translation"].item() == pytest.approx(SMOOTH, rel=0.01)
    assert parts["rotation"].item() == pytest.approx(SMOOTH, rel=0.01)
    assert parts["total"].item() == pytest.approx(
        (LOSS_WEIGHTS["translation"] + LOSS_WEIGHTS["rotation"]) * SMOOTH, rel=0.01
    )


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_a_clip_in_another_unit_costs_the_same(scale):
    depth, intrinsics, poses = clip()
    larger = poses.clone()
    larger[..., :3, 3] *= scale
    truth, grown = Truth.from_depth(depth, intrinsics, poses), Truth.from_depth(scale * depth, intrinsics, larger)
    wrong = {name: value + 0.1 for name, value in make_perfect_outputs(truth).items()}
    wrong_grown = {name: scale * value if "points" in name else value for name, value in wrong.items()}
    wrong_grown["pose"] = torch.cat((scale * wrong["pose"][..., :3], wrong["pose"][..., 3:]), -1)
    expected = compute_losses(wrong, truth)
    assert expected["total"] > 0.1
    for name, value in compute_losses(wrong_grown, grown).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


def test_mirrored_twice_is_what_it_was():
    depth, _, poses = clip()
    images = torch.arange(depth.numel() * 3, dtype=torch.float32).reshape(*depth.shape, 3)
    for before, after in zip((images, depth, poses), mirror(*mirror(images, depth, poses)), strict=True):
        assert torch.equal(before, after)


def test_the_truth_of_a_mirrored_clip_is_the_mirror_image_of_the_truth():
    depth, intrinsics, poses = clip()
    _, flipped, turned = mirror(depth[..., None], depth, poses)
    truth, mirrored = Truth.from_depth(depth, intrinsics, poses), Truth.from_depth(flipped, intrinsics, turned)
    x_negated = torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(mirrored.self_points, truth.self_points.flip(3) * x_negated)
    torch.testing.assert_close(mirrored.world_points, truth.world_points.flip(3) * x_negated, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.linalg.det(mirrored.poses), torch.ones(2, 3))
    assert not torch.allclose(mirrored.poses, truth.poses, atol=0.1)


def test_a_clip_at_once_is_the_net_frame_by_frame():
    torch.manual_seed(0)
    net, views = Cut3r(SIZES).eval(), torch.rand(2, 3, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        at_once, state = UnrolledNet(net)(views), net.start(2)
        for number, view in enumerate(views.unbind(1)):
            outputs, state = net(view, state)
            for name, values in at_once.items():
                torch.testing.assert_close(values[:, number], getattr(outputs, name), atol=1e-5, rtol=1e-4)


def test_perfect_outputs_have_perfect_scores_in_any_unit_and_world():
    (_, depth, poses), *_ = HeldOut(replace(TOY, held=1))._rooms
    truth = Truth.from_depth(depth[None], make_intrinsics(32, 48, 60.0)[None], poses[None].float())
    outputs = {
        name: 2 * value[0] if "points" in name else value[0] for name, value in make_perfect_outputs(truth).items()
    }
    outputs["pose"][:, :3] *= 2
    scores = compute_walk_scores(Outputs(features=torch.zeros(()), **outputs), depth, poses)
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert scores["delta"] == 1
    assert scores["ate_percent"] == pytest.approx(0, abs=0.01)
    assert scores["still_percent"] > 10
    assert scores["constant_abs_rel"] > 0.05


def test_an_untrained_net_scores_badly_on_held_out_rooms():
    torch.manual_seed(0)
    scores = HeldOut(replace(TOY, held=1)).compute_scores(Cut3r(SIZES))
    assert scores["abs_rel"] > 0.1
    assert 0 < scores["ate_percent"] <= scores["still_percent"] * 1.001


def test_the_unrolled_net_learns_through_its_state():
    """The first frame has an influence on the outputs for the last."""
    torch.manual_seed(0)
    views = torch.rand(1, 3, 3, 32, 48, requires_grad=True)
    unroll(Cut3r(SIZES), views).self_points.unflatten(0, (3, 1))[-1].sum().backward()
    assert views.grad[0, 0].abs().max() > 0
