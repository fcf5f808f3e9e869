"""The training of the multi-view depth net at toy size: its data, its losses, and a run that stops and goes on."""

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.reconstruction.multi_view.net import Prediction, read_multi_view_net
from moonseg3r_core.reconstruction.multi_view.plane_sweep import make_log_planes
from moonseg3r_core.synthetic import furnish
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.data.clutter import add_clutter
from moonseg3r_core.training.depth import views
from moonseg3r_core.training.depth.losses import compute_losses, shrink_truth
from moonseg3r_core.training.depth.recipe import DepthRecipe, DepthStage
from moonseg3r_core.training.depth.train import DepthRun, train_depth
from moonseg3r_core.training.depth.views import ViewStream, add_pose_noise, choose_views, make_depth_clip

TOY = DepthRecipe(
    widths=(8, 8, 8), planes=8, stages=(DepthStage(2, 2, 32, 48), DepthStage(2, 2, 48, 64)), height=48, width=64,
    sources=2, clip=5, rooms=2, visits=4.0, warmup=1, held=0, save_every=1,
)  # fmt: skip
CPU = {"device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="module")
def clip():
    return make_depth_clip(1_000_000, 8, 48, 64)


def test_clutter_keeps_clear_of_the_camera_and_is_the_same_for_a_seed():
    scene, places = furnish(3), np.array([[0.0, 0.0, 1.2]])
    some = [add_clutter(scene, places, np.random.default_rng(5)) for _ in range(2)]
    added = [room.primitives.center[len(scene.primitives) :] for room in some]
    assert len(added[0]) > 0
    assert torch.equal(*added)
    reach = some[0].primitives.half[len(scene.primitives) :].norm(dim=1)
    assert ((added[0] - torch.tensor([0.0, 0.0, 1.2])).norm(dim=1) > reach).all()


def test_sources_are_near_the_view_and_those_that_are_missing_do_not_count(clip):
    for seed in range(20):
        chosen, used = choose_views(clip, seed % 8, 3, np.random.default_rng(seed))
        assert (len(chosen), len(used)) == (4, 3)
        sources = chosen[1:][used]
        assert chosen[0] == seed % 8
        assert chosen[0] not in sources
        assert len(set(sources)) == len(sources)


def test_pose_noise_leaves_the_view_where_it_is_and_poses_rigid(clip):
    relative = torch.linalg.inv(clip.poses[0]) @ clip.poses
    for seed in range(8):  # some are fitted to landmarks, some are not
        noisy = add_pose_noise(relative, clip.depth[0].float(), clip.intrinsics, np.random.default_rng(seed))
        assert torch.equal(noisy[0], relative[0])
        turns = noisy[:, :3, :3]
        assert torch.allclose(turns @ turns.mT, torch.eye(3).expand_as(turns), atol=1e-5)
        assert not torch.allclose(noisy[1:], relative[1:])


def test_pose_noise_shows_most_points_where_the_true_poses_do(monkeypatch):
    """A tracker's poses are wrong along what its landmarks do not tell; three rooms."""
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u))).reshape(3, -1)

    def move_pixels(clip):
        """How far noisy poses move the pixels of a clip's first frame in the others, in the median."""
        relative = torch.linalg.inv(clip.poses[0]) @ clip.poses
        depth, k = clip.depth[0].float(), clip.intrinsics
        points = torch.linalg.inv(k) @ pixels * depth.reshape(1, -1)

        def project(poses):
            seen = torch.linalg.inv(poses)
            shown = k @ (seen[:, :3, :3] @ points + seen[:, :3, 3:])
            return shown[:, :2] / shown[:, 2:].clamp(min=0.05)

        noisy = [add_pose_noise(relative, depth, k, np.random.default_rng(seed)) for seed in range(12)]
        return float(torch.stack([(project(p) - project(relative)).norm(dim=1)[1:].median() for p in noisy]).mean())

    ratios = []
    for room in range(1_000_000, 1_000_003):
        clip, moved = make_depth_clip(room, 8, 48, 64), []
        for fitted in (0.0, 1.0):
            monkeypatch.setattr(views, "_FITTED", fitted)
            moved.append(move_pixels(clip))
        ratios.append(moved[1] / moved[0])
    assert np.mean(ratios) < 0.6


def test_a_batch_depends_on_its_number_alone():
    straight = list(islice(ViewStream(TOY, torch.device("cpu")), 3))
    later = next(iter(ViewStream(TOY, torch.device("cpu"), 2)))
    for name, part in vars(later).items():
        assert torch.equal(part.nan_to_num(-9), vars(straight[2])[name].nan_to_num(-9)), name
    assert later.images.shape == (2, 3, 3, 48, 64)
    assert straight[0].images.shape == (2, 3, 3, 32, 48)


def test_the_truth_of_a_cell_on_one_surface_is_its_mean_and_on_an_edge_one_of_its_pixels():
    depth = torch.tensor([[[1.0, 1.0, 1.0, 4.0], [1.0, 1.0, 4.0, 4.0]]])
    log = shrink_truth(depth, 2)
    assert log[0, 0].tolist() == pytest.approx([0.0, math.log(4.0)])
    assert shrink_truth(torch.zeros(1, 2, 2), 2).isnan().all()


def test_a_true_prediction_costs_the_least():
    depth, planes = torch.full((1, 16, 16), 1.5), make_log_planes(8)
    half, spread = torch.full((1, 8, 8), math.log(1.5)), torch.full((1, 8, 8), -3.0)
    place = (math.log(1.5) - planes[0]) / (planes[1] - planes[0])
    logits = -10 * (torch.arange(8.0) - place).abs().reshape(1, 8, 1, 1).expand(1, 8, 4, 4)
    tried, shares = torch.stack((half, half + 0.5), 1), torch.stack((half / half, 0 * half), 1)
    true = Prediction(half, spread, logits, tried, shares)
    best = compute_losses(true, depth, planes)
    assert best["depth"].item() == pytest.approx(0.0, abs=1e-6)
    assert best["edges"].item() == pytest.approx(0.0, abs=1e-6)
    for name, worse in (
        ("depth", replace(true, log_depth=half + 0.2)), ("planes", replace(true, logits=logits.roll(2, 1))),
        ("edges", replace(true, log_depth=half + 0.2 * (torch.arange(8) % 2))),
        ("spread", replace(true, log_depth=half + 0.2)), ("choice", replace(true, shares=shares.flip(1))),
    ):  # fmt: skip
        assert compute_losses(worse, depth, planes)[name] > best[name], name


def test_the_loss_falls(tmp_path):
    run = DepthRun(make_fabric("cpu", "32-true", 0), replace(TOY, rate=3e-3), tmp_path)
    batch = next(iter(ViewStream(TOY, torch.device("cpu"))))
    losses = []
    run.optimize = lambda loss, parts, shape, own=run.optimize: (losses.append(loss.item()), own(loss, parts, shape))
    for _ in range(10):
        run.advance(batch)
    assert losses[-1] < 0.8 * losses[0]


def test_a_run_that_stopped_goes_on_exactly(tmp_path):
    whole = train_depth(TOY, tmp_path / "whole", **CPU).read_bytes()
    for _ in range(4):
        weights = train_depth(TOY, tmp_path / "stopped", until=0, **CPU)
    assert weights.read_bytes() == whole
    assert read_multi_view_net(weights).widths == TOY.widths


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"widths": (8, 8)}, "3 numbers"), ({"stages": (DepthStage(1, 1, 40, 64),)}, "multiples of 16"),
     ({"stages": (DepthStage(1, 9, 48, 64),)}, "largest batch"), ({"stages": ()}, "one or more")],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        replace(TOY, **changes).check()
