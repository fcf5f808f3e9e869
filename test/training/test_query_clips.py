"""Training computes the same queries of a clip as the segmenter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from moonseg3r_core.build import specify_stages
from moonseg3r_core.config import load_config
from moonseg3r_core.refinement.learned import LearnedRefinement, QuerySizes, concatenate_features
from moonseg3r_core.resolve import resolve
from moonseg3r_core.synthetic import SyntheticSequence, write_scannet
from moonseg3r_core.training.queries.clips import make_batch, make_query_clip, move_world
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.learner import QueryLearner
from moonseg3r_core.training.queries.scenes import RecordingScene, RoomScene

FRAMES = 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config():
    return load_config(overrides={"reconstruction.kind": "rgbd"})


@pytest.fixture(scope="module")
def rooms():
    """Windows of two rooms, rendered once."""
    windows = [RoomScene(1_000_003 + n).read_window(0, FRAMES, 1) for n in (0, 1)]
    return [(window, list(window.frames)) for window in windows]


def replay(room, count=FRAMES):
    window, frames = room
    return replace(window, frames=iter(frames[:count]))


def test_queries_of_a_clip_are_those_that_the_segmenter_makes_of_its_frames(config, rooms):
    clip = make_query_clip(replay(rooms[0]), FrozenModels(config, CPU))
    torch.manual_seed(0)
    learner = QueryLearner(QuerySizes(clip.geometric.shape[-1], clip.semantic.shape[-1], width=16, heads=2)).eval()
    torch.nn.init.normal_(learner.net.nothing)
    batch = make_batch([clip])
    with torch.no_grad():
        trained = learner.compute_queries(concatenate_features(batch.geometric, batch.semantic), batch)[0]
    for t, made in enumerate(compute_queries(replay(rooms[0]), config, LearnedRefinement(learner.net))):
        assert len(made) == int(clip.masks[t])
        assert torch.allclose(trained[t, : len(made)], made.features, atol=0.03)  # clips are kept in float16
    assert t == FRAMES - 1


@pytest.mark.parametrize("kind", ["rgbd", "nano"])
def test_models_are_made_once_and_see_each_clip_as_their_first(kind, rooms):
    models = FrozenModels(load_config(overrides={"reconstruction.kind": kind}), CPU)
    made = [models.prepare(window) for window, _ in rooms]
    assert all(made[0][stage] is made[1][stage] for stage in NEEDED)
    first, _, again = (make_query_clip(replay(rooms[number], 2), models) for number in (0, 1, 0))
    for name, part in vars(first).items():  # sums of floats depend on where memory lies
        torch.testing.assert_close(part, getattr(again, name), atol=1e-5, rtol=0)


def test_masks_that_a_scene_brings_are_its_own(tmp_path):
    for name in ("one", "other"):
        write_scannet(tmp_path / name, SyntheticSequence(3, frames=2, height=60, width=80))
    models = FrozenModels(load_config(overrides={"reconstruction.kind": "rgbd"}), CPU)
    windows = [RecordingScene(str(tmp_path / name)).read_window(0, 2, 1) for name in ("one", "other", "other")]
    one, other, again = (models.prepare(each)["masks"] for each in windows)
    assert one is not other
    assert other is again


def compute_queries(window, config, refinement):
    """The queries of a window's frames, by the segmenter's stages, without a merge."""
    specs = specify_stages(resolve(config))
    stages = {name: specs[name].make() for name in NEEDED}
    for frame in window.frames:
        geometry = stages["reconstruction"](frame)
        proposals = window.masks(frame, geometry)
        geometry = stages["reconstruction"].add_features(move_world(geometry, window.motion))
        features, recalled = stages["features"](frame, geometry), stages["memory"].recall(geometry)
        queries = refinement(stages["lift"](proposals, geometry), features, geometry, recalled)
        stages["memory"].remember(queries, geometry)
        yield queries


NEEDED = ("reconstruction", "features", "memory", "lift")
