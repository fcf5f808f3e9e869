"""The frame budget: masks on every n-th frame, and models side by side, with the results of one after the other."""

import threading
from dataclasses import replace

import pytest
import torch
from billboards import BOARDS, frame
from sam_nets import sam2, saved
from walks import PATH, configured, make_segmenter, walk

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.runtime.concurrent import ConcurrentStage
from moonseg3r_core.runtime.schedule import MaskSchedule
from moonseg3r_core.types import Geometry

CPU = torch.device("cpu")


@pytest.mark.parametrize(("every", "turns"), [(1, "xxxxxx"), (2, "x.x.x."), (4, "x...x.")])
def test_every_nth_frame_has_its_turn(every, turns):
    budget = MaskSchedule(every)
    assert turns_of(budget) == turns


@pytest.mark.parametrize(
    ("rejected", "turns"), [([0], ".x.x.."), ([0, 1, 2], "...x.."), ([3, 4], "x....x"), ([1], "x..x..")]
)
def test_a_turn_goes_over_from_a_rejected_frame_to_the_next(rejected, turns):
    assert turns_of(MaskSchedule(3), rejected) == turns


def turns_of(budget, rejected=()):
    """Which of six frames is looked at for masks."""
    turns = ""
    for t in range(6):
        looked = budget.is_due(frame(t)[0]) and t not in rejected
        if looked:
            budget.mark_done()
        turns += "x" if looked else "."
    return turns


def test_frames_rejected_in_time_with_the_turns_leave_the_others_their_masks():
    segmenter, given = make_segmenter(**{"masks.every": 3})
    looked = []
    for t, camera in enumerate(PATH[:9]):
        image, given.ids[t] = frame(t, camera)
        if t % 3 == 0:
            with pytest.raises(FrameRejected):
                segmenter.step(replace(image, world_from_camera=None))
        else:
            looked.append(bool(len(segmenter.step(image).assignment)))
    assert looked == [True, False] * 3


def test_the_first_frame_after_a_reset_has_its_turn():
    segmenter, given = make_segmenter(**{"masks.every": 5})
    for _ in range(2):
        given.ids[0], given.ids[1] = frame(0)[1], frame(1)[1]
        assert [bool(len(segmenter.step(frame(t)[0]).assignment)) for t in (0, 1)] == [True, False]
        segmenter.reset()


def test_frames_between_take_nothing_from_the_confidence_of_labels():
    segmenter, given = make_segmenter(**{"masks.every": 3})
    walk(segmenter, given, PATH[:1])
    before = segmenter.snapshot()
    walk(segmenter, given, PATH[:1] * 2, start=1)
    after = segmenter.snapshot()
    assert (before.instance_ids > 0).any()
    assert after.instance_ids.equal(before.instance_ids)
    assert after.confidence.equal(before.confidence)


def test_frames_between_only_extend_the_map():
    segmenter, given = make_segmenter(**{"masks.every": 3})
    asked = []
    masks, features = segmenter.stages.masks, segmenter.stages.features
    segmenter.replace_stages(
        masks=lambda f, g: asked.append(("masks", f.index)) or masks(f, g),
        features=lambda f, g: asked.append(("features", f.index)) or features(f, g),
    )
    points = []
    for t, camera in enumerate(PATH):
        image, given.ids[t] = frame(t, camera)
        result = segmenter.step(image)
        points.append(len(segmenter.snapshot()))
        assert bool(len(result.assignment)) == (t % 3 == 0)
    assert asked == [(stage, t) for t in (0, 3, 6, 9) for stage in ("masks", "features")]
    assert points == sorted(points)
    assert points[2] > points[0], "what comes into view between enters the map"
    assert max(i.observations for i in segmenter.snapshot().instances) == 4


def test_frames_between_show_what_the_map_knows():
    every, given = make_segmenter(**{"masks.every": 5})
    always, all_given = make_segmenter()
    shown = walk(every, given)
    for (between, truth), (full, _) in zip(shown, walk(always, all_given), strict=True):
        for board in range(1, len(BOARDS) + 1):
            seen = truth == board
            ids, known = between.instance_ids[seen].unique(), full.instance_ids[seen].unique()
            assert set(ids.tolist()) <= set(known.tolist()) | {0}
    between = shown[1][0].instance_ids
    assert (between > 0).float().mean() > 0.8 * (shown[0][0].instance_ids > 0).float().mean()


class Never:
    def is_due(self, frame):
        return False


def test_a_first_frame_without_a_turn_shows_nothing():
    segmenter, _ = make_segmenter()
    segmenter.replace_stages(budget=Never())
    assert not segmenter.step(frame(0)[0]).instance_ids.any()
    assert len(segmenter.snapshot()) > 100


class Model:
    """What a model is asked: the frames, the sizes of the grids, and the threads it ran in."""

    def __init__(self, refuses=()):
        self.asked, self.refuses = [], refuses

    def __call__(self, image, geometry):
        self.asked.append((image.index, geometry.valid.shape, threading.current_thread() is threading.main_thread()))
        if image.index in self.refuses:
            raise FrameRejected(f"frame {image.index} is refused")
        assert not torch.is_grad_enabled() or threading.current_thread() is threading.main_thread()
        return image.index, tuple(geometry.valid.shape)


def test_a_model_begins_once_the_grid_is_known():
    model = Model()
    beside, grid = ConcurrentStage(model, CPU), Geometry.empty(4, 6)
    for t in range(3):
        image = frame(t)[0]
        beside.prefetch(image)
        assert beside(image, grid) == (t, (4, 6))
    assert model.asked == [(0, (4, 6), True), (1, (4, 6), False), (2, (4, 6), False)]


def test_a_grid_that_changes_is_looked_at_again():
    model = Model()
    beside = ConcurrentStage(model, CPU)
    for t, size in enumerate([(4, 6), (4, 6), (8, 6), (8, 6)]):
        image = frame(t)[0]
        beside.prefetch(image)
        assert beside(image, Geometry.empty(*size)) == (t, size)
    assert [t for t, _, _ in model.asked] == [0, 1, 2, 2, 3]


def test_what_was_begun_of_a_rejected_frame_is_dropped():
    model = Model()
    beside, grid = ConcurrentStage(model, CPU), Geometry.empty(4, 6)
    beside(frame(0)[0], grid)
    beside.prefetch(frame(1)[0])  # the reconstruction rejects it
    image = frame(2)[0]
    beside.prefetch(image)
    assert beside(image, grid) == (2, (4, 6))
    assert beside(frame(3)[0], grid) == (3, (4, 6)), "asked without having begun"


def test_rejected_frames_do_not_pile_up_before_the_model():
    at_work, go_on, asked = threading.Event(), threading.Event(), []

    def model(image, geometry):
        asked.append(image.index)
        at_work.set()
        assert image.index == 0 or go_on.wait(10)

    beside, grid = ConcurrentStage(model, CPU), Geometry.empty(4, 6)
    beside(frame(0)[0], grid)
    at_work.clear()
    beside.prefetch(frame(1)[0])
    assert at_work.wait(10)
    for t in range(2, 9):
        image = frame(t)[0]
        beside.prefetch(image)  # the reconstruction rejects all but the last
    go_on.set()
    beside(image, grid)
    assert asked == [0, 1, 8]


def test_a_model_that_goes_takes_its_thread_along():
    beside, image = ConcurrentStage(Model(), CPU), frame(1)[0]
    beside(image, Geometry.empty(4, 6))
    beside.prefetch(image)
    beside(image, Geometry.empty(4, 6))
    (thread,) = beside._thread._threads
    del beside
    thread.join(10)
    assert not thread.is_alive()


def test_a_model_that_refuses_a_frame_does_so_in_its_turn():
    beside, grid = ConcurrentStage(Model(refuses={1}), CPU), Geometry.empty(4, 6)
    beside(frame(0)[0], grid)
    image = frame(1)[0]
    beside.prefetch(image)
    with pytest.raises(FrameRejected, match="frame 1 is refused"):
        beside(image, grid)
    assert beside(frame(2)[0], grid) == (2, (4, 6))


def test_the_pipeline_gives_the_same_results(tmp_path):
    pytest.importorskip("transformers")
    lenient = {"predicted_iou": 0.0, "stability": 0.1, "points_per_side": 4, "weights": str(saved(sam2(), tmp_path))}
    masks = {"masks.kind": "sam2", **{f"masks.sam2.{name}": value for name, value in lenient.items()}}
    walks = []
    for pipeline in (False, True):
        segmenter = build_segmenter(configured(**masks, pipeline=pipeline))
        assert hasattr(segmenter.stages.masks, "prefetch") == pipeline
        walks.append([segmenter.step(frame(t, camera)[0]).instance_ids for t, camera in enumerate(PATH[:3])])
    for alone, beside in zip(*walks, strict=True):
        assert alone.any()
        assert alone.equal(beside)
