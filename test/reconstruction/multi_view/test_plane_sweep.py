"""The plane sweep: where planes lie, what matches, and the compiled correlation against the plain one."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from moonseg3r_core.reconstruction.multi_view.plane_sweep import (
    FARTHEST,
    NEAREST,
    Sweep,
    correlate,
    correlate_by_sampling,
    make_log_planes,
)
from moonseg3r_core.reconstruction.multi_view.plane_sweep_cpu import correlate_on_cpu

K = torch.tensor([[10.0, 0.0, 3.5], [0.0, 10.0, 2.5], [0.0, 0.0, 1.0]])[None]
SIZE = 6, 8


def make_poses(*shifts):
    """source_from_view (1, S, 4, 4) of cameras that did not turn."""
    poses = torch.eye(4).repeat(1, len(shifts), 1, 1)
    poses[0, :, :3, 3] = torch.tensor(shifts)
    return poses


def make_random_sweep(generator, batch=2, sources=3, size=(12, 16)):
    """Cameras that turned and moved a little."""
    twist = torch.randn(batch, sources, 3, 3, generator=generator) * 0.15
    poses = torch.eye(4).repeat(batch, sources, 1, 1)
    poses[..., :3, :3] = torch.linalg.matrix_exp(twist - twist.mT)
    poses[..., :3, 3] = 0.3 * torch.randn(batch, sources, 3, generator=generator)
    k = torch.tensor([[14.0, 0.0, 7.5], [0.0, 14.0, 5.5], [0.0, 0.0, 1.0]]).repeat(batch, 1, 1)
    return Sweep.from_poses(k, poses, make_log_planes(9).exp(), size)


def test_planes_are_evenly_spaced_in_the_logarithm():
    planes = make_log_planes(4)
    assert planes.exp()[[0, -1]].tolist() == pytest.approx([NEAREST, FARTHEST])
    assert planes.diff().tolist() == pytest.approx([planes.diff()[0].item()] * 3)


def test_a_camera_that_stepped_left_sees_a_near_point_further_right():
    sweep = Sweep.from_poses(K, make_poses((0.2, 0.0, 0.0)), torch.tensor([1.0, 2.0]), SIZE)
    located = sweep.locate()[0, 0]
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    for plane, shift in enumerate((2.0, 1.0)):  # 10 px * 0.2 / depth
        assert torch.allclose(located[:, plane], torch.stack((u.flatten() + shift, v.flatten()), -1), atol=1e-5)
    assert torch.allclose(sweep.compute_parallax(), torch.tensor(2.0), atol=1e-5)


def test_a_point_behind_a_source_lies_nowhere():
    sweep = Sweep.from_poses(K, make_poses((0.0, 0.0, -1.5)), torch.tensor([1.0, 2.0]), SIZE)
    located = sweep.locate()[0, 0]
    assert located[:, 0].isinf().all()
    assert located[:, 1].isfinite().all()


@pytest.mark.parametrize("compute", [correlate_by_sampling, correlate_on_cpu])
def test_the_plane_of_the_true_depth_matches_best(compute):
    generator = torch.Generator().manual_seed(0)
    view = F.normalize(torch.randn(1, 16, 6, 8, generator=generator), dim=1)
    source = view.roll(2, 3)  # all of it at depth 1: two pixels further right
    sweep = Sweep.from_poses(K, make_poses((0.2, 0.0, 0.0)), torch.tensor([0.5, 1.0, 2.0]), SIZE)
    rows = view.permute(0, 2, 3, 1).reshape(1, 48, 16).contiguous()
    scores, seen = compute(rows, source.permute(0, 2, 3, 1)[:, None].contiguous(), sweep)
    inside = torch.arange(48) % 8 < 4
    assert (scores[0, 0][inside].argmax(-1) == 1).all()
    assert torch.allclose(scores[0, 0][inside][:, 1], torch.tensor(1.0), atol=1e-5)
    assert not seen[0, 0][torch.arange(48) % 8 >= 6][:, 1].any()
    assert (scores[0, 0][~seen[0, 0]] == 0).all()


def test_pixels_are_tried_at_depths_of_their_own():
    planes = torch.tensor([1.0, 2.0])
    own = planes[:, None, None] * torch.linspace(0.5, 1.5, 48).reshape(1, 1, 6, 8)
    located = Sweep.from_poses(K, make_poses((0.2, 0.0, 0.0)), own, SIZE).locate()[0, 0]
    shared = Sweep.from_poses(K, make_poses((0.2, 0.0, 0.0)), planes * 1.5, SIZE).locate()[0, 0]
    assert torch.allclose(located[-1], shared[-1])
    assert (located[0] - shared[0]).abs().amax() > 2


@pytest.mark.parametrize("own", [False, True])
def test_the_compiled_correlation_equals_the_plain_one_with_its_gradient(own):
    generator = torch.Generator().manual_seed(1)
    sweep = make_random_sweep(generator)
    if own:
        sweep = replace(sweep, depths=sweep.depths * torch.rand(2, 192, 9, generator=generator).add(0.5))
    view = torch.randn(2, 192, 8, generator=generator, requires_grad=True)
    sources = torch.randn(2, 3, 12, 16, 8, generator=generator, requires_grad=True)
    weights = torch.randn(2, 3, 192, 9, generator=generator)
    found = []
    for compute in (correlate_by_sampling, correlate_on_cpu):
        scores, seen = compute(view, sources, sweep)
        found.append((scores, seen, *torch.autograd.grad((scores * weights).sum(), (view, sources))))
    assert torch.equal(found[0][1], found[1][1])
    assert 0.2 < found[0][1].float().mean() < 0.9
    for plain, compiled in zip(found[0], found[1], strict=True):
        assert torch.allclose(plain.float(), compiled.float(), atol=1e-4)


def test_scores_come_plane_by_plane_over_root_channels():
    view = torch.ones(1, 4, 6, 8)
    sweep = Sweep.from_poses(K, make_poses((0.0, 0.0, 0.0)), torch.tensor([1.0, 2.0, 3.0]), SIZE)
    scores, seen = correlate(view, view[:, None], sweep)
    assert scores.shape == seen.shape == (1, 1, 3, 6, 8)
    assert torch.allclose(scores, torch.tensor(2.0))
