"""The segmenter: one walk through the pipeline on a scene with a known answer."""

import copy
import dataclasses
import math
from functools import cache

import pytest
import torch
from billboards import BOARDS, frame
from walks import EAGER, PATH, make_segmenter, split, walk

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import ConfigError, FrameRejected
from moonseg3r_core.resolve import RecordingFacts, choose_device, resolve
from moonseg3r_core.runtime import timing
from moonseg3r_core.runtime.timing import StageTimer
from moonseg3r_core.types import Geometry

WALL = len(BOARDS)


def ids_of(result, truth, board):
    """The ids that a board's pixels have, without the empty one."""
    return set(result.instance_ids[truth == board].unique().tolist()) - {0}


@cache
def plain_walk():
    """A segmenter after a walk, which no test may change, and the results."""
    segmenter, given = make_segmenter()
    return segmenter, walk(segmenter, given)


def test_every_object_has_one_id_from_first_to_last():
    _, walked = plain_walk()
    names = [{frozenset(ids_of(r, truth, board)) for r, truth in walked} for board in range(1, WALL + 1)]
    assert all(len(of_board) == 1 and len(next(iter(of_board))) == 1 for of_board in names)
    assert len({name for of_board in names for name in of_board}) == WALL


def test_the_map_lies_where_the_boards_are():
    segmenter, walked = plain_walk()
    scene = segmenter.snapshot()
    for board, (_, _, _, _, z, color) in enumerate(BOARDS, 1):
        (id,) = ids_of(*walked[-1], board)
        points = scene.points[scene.instance_ids == id]
        assert (points[:, 2] - z).abs().max() < 1e-4
        assert (scene.colors[scene.instance_ids == id].float().mean(0) - torch.tensor(color).float()).abs().max() < 2
        (instance,) = [i for i in scene.instances if i.id == id]
        assert instance.points == len(points)
        assert (instance.observations, instance.first_frame, instance.last_frame) == (10, 0, 9)
        assert 0 < instance.score < 1


def test_the_map_brings_the_query_of_every_instance():
    segmenter, given = make_segmenter()
    assert segmenter.snapshot().descriptors == {}
    walk(segmenter, given, PATH[:3])
    scene, stored = segmenter.snapshot(), segmenter.stages.store.instances
    assert list(scene.descriptors) == [i.id for i in scene.instances] == stored.ids.tolist()
    assert torch.stack(list(scene.descriptors.values())).equal(stored.features)
    kept = scene.descriptors[1].clone()
    walk(segmenter, given, PATH[3:5], start=3)
    assert scene.descriptors[1].equal(kept)


def test_an_object_that_leaves_and_returns_keeps_its_id():
    segmenter, given = make_segmenter()
    (first, truth), *_ = walk(segmenter, given, [(0.0, 0.0, 0.0)] * 2)
    away = walk(segmenter, given, [(3.0, 0.0, 0.0)] * 5, start=2)
    assert not (away[-1][1] == 1).any()
    back, after = walk(segmenter, given, [(0.05, 0.0, 0.0)], start=7)[0]
    for board in (1, 2, 3):
        assert ids_of(back, after, board) == ids_of(first, truth, board)


def test_a_copy_goes_its_own_way():
    segmenter, given = make_segmenter(**EAGER)
    shown, given.ids[2] = frame(2, (0.4, 0.0, 0.0))
    walk(segmenter, given, PATH[:2], split)
    points = len(segmenter.snapshot())
    other = copy.deepcopy(segmenter)
    assert other.step(shown).stage_ms["reconstruction"] > 0
    assert len(other.snapshot()) > points == len(segmenter.snapshot())


def test_a_new_object_gets_a_new_id():
    segmenter, given = make_segmenter()
    hidden = walk(segmenter, given, [(0.0, 0.0, 0.0)] * 2, change=lambda t, ids: torch.where(ids == 2, 0, ids))
    known = set().union(*(set(r.instance_ids.unique().tolist()) for r, _ in hidden))
    result, truth = walk(segmenter, given, [(0.0, 0.0, 0.0)], start=2)[0]
    assert not ids_of(result, truth, 2) & known


def test_a_split_object_becomes_whole():
    segmenter, given = make_segmenter()
    walked = walk(segmenter, given, change=split, path=[(0.01 * t - 0.1, 0.0, 0.0) for t in range(18)])
    final = segmenter.final_ids
    last = {final.get(i, i) for i in ids_of(*walked[-1], 1)}
    assert len(last) == 1
    scene = segmenter.snapshot()
    board = (scene.points[:, 2] - BOARDS[0][4]).abs() < 1e-3
    held = (scene.instance_ids[board] == last.pop()).float().mean()
    assert held > 0.9


def test_the_papers_own_fusion_leaves_the_halves_apart():
    paper = {"fusion.match": "paper", "fusion.parts": "new", "fusion.consensus": "none", "fusion.merge": "none"}
    segmenter, given = make_segmenter(**paper)
    walk(segmenter, given, change=split)
    assert len(segmenter.snapshot().instances) > WALL
    assert segmenter.final_ids == {}


def test_moving_world_and_camera_together_changes_no_id():
    c, s = math.cos(0.4), math.sin(0.4)
    world = torch.tensor([[c, 0, s, 3.0], [0, 1, 0, -1.0], [-s, 0, c, 2.0], [0, 0, 0, 1]], dtype=torch.float64)
    for (a, _), (b, _) in zip(plain_walk()[1], walk(*make_segmenter(), world=world), strict=True):
        assert a.instance_ids.equal(b.instance_ids)


def test_relabelling_the_masks_changes_nothing():
    names = torch.tensor([0, 3, 1, 4, 2], dtype=torch.int32)
    shuffled = walk(*make_segmenter(), change=lambda t, ids: names[ids.long()])
    for (a, _), (b, _) in zip(plain_walk()[1], shuffled, strict=True):
        assert a.instance_ids.equal(b.instance_ids)


def test_the_same_stream_twice_gives_the_same_ids():
    (one, first), (two, given) = plain_walk(), make_segmenter()
    for (a, _), (b, _) in zip(first, walk(two, given), strict=True):
        assert a.instance_ids.equal(b.instance_ids)
    for a, b in zip(one.snapshot().instances, two.snapshot().instances, strict=True):
        assert a.score == pytest.approx(b.score, rel=1e-5)  # matrix products round by where their rows lie in memory
        assert dataclasses.replace(a, score=b.score) == b


def test_reset_starts_anew():
    segmenter, given = make_segmenter()
    first = walk(segmenter, given, PATH[:4])
    segmenter.reset()
    assert len(segmenter.snapshot()) == 0
    for (a, _), (b, _) in zip(first, walk(segmenter, given, PATH[:4]), strict=True):
        assert a.instance_ids.equal(b.instance_ids)


def test_frames_without_masks_extend_the_map():
    segmenter, given = make_segmenter()
    walked = walk(segmenter, given, PATH[:4], change=lambda t, ids: torch.zeros_like(ids))
    assert all((r.instance_ids == 0).all() for r, _ in walked)
    scene = segmenter.snapshot()
    assert len(scene) > 100
    assert scene.instances == ()


def test_a_rejected_frame_changes_nothing():
    segmenter, given = make_segmenter()
    walk(segmenter, given, PATH[:3])
    before = segmenter.snapshot()
    bad, given.ids[3] = frame(3)
    with pytest.raises(FrameRejected):
        segmenter.step(dataclasses.replace(bad, world_from_camera=bad.world_from_camera * torch.nan))
    after = segmenter.snapshot()
    assert after.instances == before.instances
    assert after.points.equal(before.points)


def test_every_stage_is_timed():
    segmenter, given = make_segmenter()
    (result, _), *_ = walk(segmenter, given, PATH[:1])
    assert {"reconstruction", "features", "memory", "refinement", "lift", "merge", "match", "store"} <= set(
        result.stage_ms
    )
    assert all(ms >= 0 for ms in result.stage_ms.values())


def test_a_timed_stage_behaves_as_before():
    class Doubling:
        size = 3

        def __call__(self, x):
            return 2 * x

        def look(self):
            return "seen"

    timer = StageTimer()
    stage = timer.wrap({"doubling": Doubling()})["doubling"]
    assert (stage(4), stage.look(), stage.size) == (8, "seen", 3)
    assert set(timer.restart()) == {"doubling"}
    assert timer.restart() == {}


def test_masks_of_an_own_folder_come_first(tmp_path):
    assert resolve(Config()).masks.kind == "nano"
    resolved = resolve(Config(), RecordingFacts(tmp_path))
    assert (resolved.masks.kind, resolved.masks.precomputed.folder) == ("precomputed", str(tmp_path))
    other = load_config(overrides={"masks.precomputed.folder": "elsewhere"})
    assert resolve(other, RecordingFacts(tmp_path)).masks.precomputed.folder == "elsewhere"
    with pytest.raises(ConfigError, match="the recording brings none"):
        build_segmenter(load_config(overrides={"masks.kind": "precomputed"}))


@pytest.mark.parametrize("name", ["cuda:99", "tpu!", "cuda:x", "mps", "meta"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ConfigError, match="device"):
        choose_device(name)


def test_masks_without_any_depth_are_left_out():
    segmenter, given = make_segmenter()
    image, ids = frame(0)
    image.depth[:, :40] = 0
    given.ids[0] = ids
    result = segmenter.step(image)
    assert not ids_of(result, ids, 1)
    assert ids_of(result, ids, 3)


def test_a_frame_that_the_masks_reject_changes_nothing_either():
    segmenter, given = make_segmenter()
    walk(segmenter, given, PATH[:3])
    before, recalled = segmenter.snapshot(), segmenter.stages.memory.recall(Geometry.empty(60, 80))

    def reject(frame, geometry):
        raise FrameRejected("no masks today")

    segmenter.replace_stages(masks=reject)
    with pytest.raises(FrameRejected, match="today"):
        segmenter.step(frame(3)[0])
    assert segmenter.snapshot().instances == before.instances
    assert len(segmenter.stages.memory.recall(Geometry.empty(60, 80))) == len(recalled)


def test_a_rejected_frame_costs_the_next_no_time(monkeypatch):
    monkeypatch.setattr(timing, "perf_counter", lambda: seconds[0])
    segmenter, given = make_segmenter()
    seconds = [0.0]

    def slow(frame, geometry):
        seconds[0] += 0.2
        raise FrameRejected("slow and useless")

    segmenter.replace_stages(masks=slow)
    with pytest.raises(FrameRejected):
        segmenter.step(frame(0)[0])
    segmenter.replace_stages(masks=given)
    (result, _), *_ = walk(segmenter, given, PATH[:1])
    assert result.stage_ms["masks"] == 0.0


def test_results_name_only_instances_of_the_map():
    segmenter, given = make_segmenter(**EAGER)
    for t, camera in enumerate([(0.01 * t - 0.1, 0.0, 0.0) for t in range(6)]):
        image, ids = frame(t, camera)
        given.ids[t] = split(t, ids)
        result = segmenter.step(image)
        alive = {i.id for i in segmenter.snapshot().instances}
        assert set(result.assignment.instance_ids.tolist()) <= alive
        assert set(result.instance_ids.unique().tolist()) - {0} <= alive
    assert segmenter.final_ids


def test_spurious_masks_are_retired_and_stay_on_file(monkeypatch):
    monkeypatch.setattr("moonseg3r_core.fusion.store.RETIRE_EVERY", 10)
    apart = {"fusion.parts": "new", "fusion.consensus": "none"}
    segmenter, given = make_segmenter(**apart)

    def once(t, ids):
        """In frame 2 a mask of a board's corner."""
        corner = (ids == 2) & (torch.arange(ids.shape[0])[:, None] < 28)
        return torch.where(corner, 9, ids) if t == 2 else ids

    walk(segmenter, given, [(0.0, 0.0, 0.0)] * 20, change=once)
    store = segmenter.stages.store
    assert len(store.instances) == WALL
    assert [(i.points, i.observations, i.last_frame) for i in store.retired] == [(0, 1, 2)]
    saved = segmenter.snapshot().instances
    assert len({i.id for i in saved}) == len(saved) == WALL + 1
    assert store.instances.next_id == WALL + 2
    assert not any((grid._ids == store.retired[0].id).any() for grid in (store.map.votes, store.votes))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_walks_as_the_cpu_does():
    path = [(0.01 * t - 0.1, 0.0, 0.0) for t in range(18)]
    cpu, gpu = make_segmenter(**EAGER), make_segmenter(**EAGER, device="cuda")
    for (a, _), (b, _) in zip(walk(*cpu, path, split), walk(*gpu, path, split), strict=True):
        assert (a.instance_ids == b.instance_ids.cpu()).float().mean() > 0.99
    assert gpu[0].final_ids == cpu[0].final_ids != {}
