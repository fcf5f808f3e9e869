"""The ablation and what it stands on: frozen models replayed, rows scored for several seeds, queries counted in the pipeline."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from walks import EXACT

from moonseg3r_core.benchmarks.accuracy import open_recording, segment
from moonseg3r_core.benchmarks.preset import read_paper_preset
from moonseg3r_core.benchmarks.queries import measure_cost, measure_repairs, measure_returns
from moonseg3r_core.benchmarks.replay import Replay
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.metrics.average_precision import Scores, average_scenes
from moonseg3r_core.refinement.learned import QueryNet, QuerySizes, align_features, write_query_net
from moonseg3r_core.settings import overlay
from moonseg3r_core.synthetic import SyntheticSequence, write_scannet

pytest.importorskip("lightning_fabric")

from moonseg3r_core.benchmarks.ablation import VARIANTS, Ablation, make_trainer, measure_ablation, plot_ablation
from moonseg3r_core.training.queries.recipe import QueryRecipe

FRAMES = 4
RGBD = QueryRecipe(stack=EXACT, width=16, heads=2, layers=1)
ROWS = ["F2d + F3d", "+ query refinement", "+ SSD", "+ QIM", "+ SDT"]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A small recording with noisy masks and truth, one frame of which has no depth."""
    folder = tmp_path_factory.mktemp("rooms") / "room"
    write_scannet(folder, SyntheticSequence(2, frames=FRAMES, height=90, width=120))
    blank = folder / "depth" / "2.png"
    cv2.imwrite(str(blank), 0 * cv2.imread(str(blank), cv2.IMREAD_UNCHANGED))
    return folder


def opened(room, config, tmp_path):
    return open_recording(room, "given", tmp_path, config)


def same_maps(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def query_file(path, replay, seed=0, **changes):
    """A file of random queries for the features of a replay."""
    torch.manual_seed(seed)
    cells = align_features(replay.outputs[0].features, replay.outputs[0].geometry)
    sizes = QuerySizes(cells.geometric.shape[-1], cells.semantic.shape[-1], width=16, heads=2, layers=1)
    write_query_net(path, QueryNet(dataclasses.replace(sizes, **changes)))
    return path


def test_a_replay_gives_the_id_maps_of_the_whole_pipeline(room, tmp_path):
    config = load_config(overrides=EXACT)
    recording = opened(room, config, tmp_path)
    replay = Replay.from_recording(recording, config)
    assert [each.frame.index for each in replay.outputs] == [0, 1, 3]
    weights = query_file(tmp_path / "net.safetensors", replay)
    learned = {"refinement.kind": "learned", "refinement.learned.weights": str(weights)}
    for settings in ({}, {"memory.kind": "none"}, {**read_paper_preset(), **learned}):
        chosen = overlay(config, settings)
        found = replay.predict_id_maps(chosen)
        same_maps(found, segment(recording, chosen).id_maps)
        assert max(int(ids.max()) for ids in found) > 1
    same_maps(replay.predict_id_maps(chosen), found)  # nothing is remembered between two runs


@pytest.mark.usefixtures("stand_in")
def test_a_replay_of_a_net_is_the_segmenter_with_its_state_tokens_or_without(room, tmp_path):
    config = load_config(overrides={"reconstruction.kind": "nano", "device": "cpu"})
    recording = opened(room, config, tmp_path)
    replay = Replay.from_recording(recording, config)
    same_maps(replay.predict_id_maps(config), segment(recording, config).id_maps)
    without = overlay(config, {"reconstruction.nano.attention": "none"})
    same_maps(replay.predict_id_maps(config, tokens=False), segment(recording, without).id_maps)


def test_a_replay_of_no_usable_frame_has_blank_maps(tmp_path):
    folder = write_scannet(tmp_path / "dark", SyntheticSequence(2, frames=2, height=90, width=120))
    for file in (folder / "depth").iterdir():
        cv2.imwrite(str(file), np.zeros((90, 120), np.uint16))
    config = load_config(overrides=EXACT)
    replay = Replay.from_recording(opened(folder, config, tmp_path), config)
    assert replay.outputs == ()
    assert not any(ids.any() for ids in replay.predict_id_maps(config))


def scores(ap, ap25=1.0):
    return Scores((ap,) * 9 + (ap25,))


def test_the_table_shows_means_and_the_spread_of_seeds():
    scored = {
        ("first", "rooms"): [scores(0.25, 0.75)],
        ("second", "rooms"): [scores(0.4), scores(0.6)],
        ("first", "walks"): [scores(0.0)],
        ("second", "walks"): [scores(0.5, 0.5)] * 3,
    }
    table = Ablation("nano", scored).make_table()
    assert table.rows == [
        {
            "nano": "first", "rooms AP": "25.0", "rooms AP50": "25.0", "rooms AP25": "75.0",
            "walks AP": "0.0", "walks AP50": "0.0", "walks AP25": "100.0",
        },
        {  # 0.4 and 0.6 deviate by 0.1 each: sqrt(2 * 0.1^2 / (2 - 1)) = 0.1414
            "nano": "second", "rooms AP": "50.0 ± 14.1", "rooms AP50": "50.0 ± 14.1", "rooms AP25": "100.0 ± 0.0",
            "walks AP": "50.0 ± 0.0", "walks AP50": "50.0 ± 0.0", "walks AP25": "50.0 ± 0.0",
        },
    ]  # fmt: skip
    assert "| second | 50.0 ± 14.1 |" in str(table)
    assert plot_ablation([Ablation("nano", scored), Ablation("rgbd", scored)])[1:4] == b"PNG"


def test_the_rows_are_those_of_the_papers_table():
    assert [part.name for part in VARIANTS] == ROWS
    assert [part.name for part in VARIANTS if part.tokens] == ["+ SDT"]
    assert VARIANTS[0].recipe is None


class Stub:
    """In place of a training: a random net with the recipe's context and seed, and a note of what was asked."""

    def __init__(self, folder, replay):
        self.folder, self.replay, self.asked = folder, replay, {}

    def __call__(self, recipe, name):
        assert self.asked.setdefault(name, recipe) == recipe, "one name, one recipe"
        return query_file(self.folder / name, self.replay, recipe.seed, context=recipe.xseg > 0)


def test_an_ablation_has_a_row_for_every_part_of_its_stack(room, tmp_path):
    config = load_config(overrides=EXACT)
    recording = opened(room, config, tmp_path)
    train, group = Stub(tmp_path, Replay.from_recording(recording, config)), room.parent.name
    found = measure_ablation([room.parent], RGBD, 2, train, quiet=True)
    assert found.stack == "rgbd"
    seeds = dict(zip(ROWS[:4], (1, 2, 2, 2), strict=True))  # rgbd has no state tokens
    assert {key: len(scores) for key, scores in found.scores.items()} == {(n, group): k for n, k in seeds.items()}
    assert all(0 <= score.ap <= score.ap25 <= 1 for scores in found.scores.values() for score in scores)
    assert len(found.make_table().rows) == 4
    weights = {(recipe.dist, recipe.xseg, recipe.seed) for recipe in train.asked.values()}
    assert weights == {(dist, xseg, seed) for dist, xseg in ((0, 0), (0.1, 0), (0.1, 0.5)) for seed in (0, 1)}
    assert len(train.asked) == 6
    # The first row is the paper's fusion of averages.
    maps = segment(recording, overlay(config, {**read_paper_preset("fusion."), "memory.kind": "none"})).id_maps
    assert found.scores["F2d + F3d", group] == [average_scenes([recording.score(maps)])]


@pytest.mark.usefixtures("stand_in")
def test_a_stack_with_a_net_has_its_state_tokens_in_the_last_row(room, tmp_path):
    recipe = dataclasses.replace(RGBD, stack={"reconstruction.kind": "nano", "device": "cpu"})
    train = Stub(tmp_path, Replay.from_recording(opened(room, recipe.config, tmp_path), recipe.config))
    found = measure_ablation([room], recipe, 1, train, quiet=True)
    assert found.stack == "nano"
    assert [name for name, _ in found.scores] == ROWS
    assert len(train.asked) == 3, "the last two rows share their weights"


def test_runs_that_were_made_are_not_made_again(tmp_path, capsys):
    recipe = dataclasses.replace(
        RGBD, scenes=1, frames=2, batch=1, epochs=1, held=0, warmup=0, score_every=1, save_every=1
    )
    weights = make_trainer(tmp_path)(recipe, "run")
    assert weights.parent == tmp_path / "run"
    before, _ = weights.stat().st_mtime_ns, capsys.readouterr()
    assert make_trainer(tmp_path)(recipe, "run") == weights
    assert weights.stat().st_mtime_ns == before
    assert "has made all 1 steps" in capsys.readouterr().out


def test_repairs_are_counted_in_recordings_with_exact_ids(room, tmp_path):
    (row,) = measure_repairs([room], load_config(overrides={**EXACT, "fusion.merge": "none"})).rows
    assert (row["recording"], row["whole after"], row["wrong per object"]) == ("room", 0, 0)
    assert row["objects"] > row["split"] > 0
    every = {**EXACT, "fusion.merge": "similarity", "fusion.merge_threshold": -1.0}
    (joined,) = measure_repairs([room.parent], load_config(overrides=every)).rows
    assert joined["whole after"] == 1
    assert joined["wrong per object"] > 0.5
    assert joined["objects"] == row["objects"]

    bare = write_scannet(tmp_path / "bare", SyntheticSequence(2, frames=2, height=90, width=120))
    for file in (bare / "instance").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="must bring exact ids for every frame") as refused:
        measure_repairs([bare], load_config(overrides=EXACT))
    assert len(str(refused.value).splitlines()) == 1


def test_returns_are_counted_in_walks(capsys):
    *rows, total = measure_returns([5], load_config(overrides=EXACT), frames=2, away=1).rows
    assert "returns, room 5: 100%" in capsys.readouterr().err
    measure_returns([5], load_config(overrides=EXACT), frames=1, quiet=True)
    assert capsys.readouterr().err == ""
    assert [row["room"] for row in rows] == [5]
    assert total == {"room": "all", "returns": 0, "known again": 0, "share": 0}


def test_the_cost_of_a_refinement_is_measured():
    (row,) = measure_cost(QuerySizes(3, 5, 16, 2, 1), masks=2, context=3, repeats=3).rows
    assert 0 < row["best ms"] <= row["median ms"]
