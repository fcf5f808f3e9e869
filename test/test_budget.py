"""The frame budget: masks on every n-th frame, and models side by side, with the results of one after the other."""

import threading

import pytest
import torch
from billboards import BOARDS, frame
from walks import PATH, configured, house, walk

from moonseg3r_core.budget import EveryNth
from moonseg3r_core.build import build_segmenter
from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.side_by_side import SideBySide
from moonseg3r_core.types import Geometry

CPU = torch.device("cpu")


@pytest.mark.parametrize(("every", "turns"), [(1, "xxxxxx"), (2, "x.x.x."), (4, "x...x.")])
def test_every_nth_frame_has_its_turn(every, turns):
    budget = EveryNth(every)
    assert "".join("x" if budget(frame(t)[0]) else "." for t in range(6)) == turns


def test_frames_between_only_extend_the_map():
    segmenter, given = house(**{"masks.every": 3})
    asked = []
    masks, features = segmenter.rooms.masks, segmenter.rooms.features
    segmenter.furnish(
        masks=lambda f, g: asked.append(("masks", f.index)) or masks(f, g),
        features=lambda f, g: asked.append(("features", f.index)) or features(f, g),
    )
    points = []
    for t, camera in enumerate(PATH):
        image, given.ids[t] = frame(t, camera)
        result = segmenter.step(image)
        points.append(len(segmenter.snapshot()))
        assert bool(len(result.assignment)) == (t % 3 == 0)
    assert asked == [(room, t) for t in (0, 3, 6, 9) for room in ("masks", "features")]
    assert points == sorted(points)
    assert points[2] > points[0], "what comes into view between enters the map"
    assert max(i.observations for i in segmenter.snapshot().instances) == 4


def test_frames_between_show_what_the_map_knows():
    every, given = house(**{"masks.every": 5})
    always, all_given = house()
    shown = walk(every, given)
    for (between, truth), (full, _) in zip(shown, walk(always, all_given), strict=True):
        for board in range(1, len(BOARDS) + 1):
            seen = truth == board
            ids, known = between.instance_ids[seen].unique(), full.instance_ids[seen].unique()
            assert set(ids.tolist()) <= set(known.tolist()) | {0}
    between = shown[1][0].instance_ids
    assert (between > 0).float().mean() > 0.8 * (shown[0][0].instance_ids > 0).float().mean()


def test_a_first_frame_without_a_turn_shows_nothing():
    segmenter, _ = house()
    segmenter.furnish(budget=lambda f: False)
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
    beside, grid = SideBySide(model, CPU), Geometry.empty(4, 6)
    for t in range(3):
        image = frame(t)[0]
        beside.begin(image)
        assert beside(image, grid) == (t, (4, 6))
    assert model.asked == [(0, (4, 6), True), (1, (4, 6), False), (2, (4, 6), False)]


def test_a_grid_that_changes_is_looked_at_again():
    model = Model()
    beside = SideBySide(model, CPU)
    for t, size in enumerate([(4, 6), (4, 6), (8, 6), (8, 6)]):
        image = frame(t)[0]
        beside.begin(image)
        assert beside(image, Geometry.empty(*size)) == (t, size)
    assert [t for t, _, _ in model.asked] == [0, 1, 2, 2, 3]


def test_what_was_begun_of_a_rejected_frame_is_dropped():
    model = Model()
    beside, grid = SideBySide(model, CPU), Geometry.empty(4, 6)
    beside(frame(0)[0], grid)
    beside.begin(frame(1)[0])  # the reconstruction rejects it
    image = frame(2)[0]
    beside.begin(image)
    assert beside(image, grid) == (2, (4, 6))
    assert beside(frame(3)[0], grid) == (3, (4, 6)), "asked without having begun"


def test_a_model_that_refuses_a_frame_does_so_in_its_turn():
    beside, grid = SideBySide(Model(refuses={1}), CPU), Geometry.empty(4, 6)
    beside(frame(0)[0], grid)
    image = frame(1)[0]
    beside.begin(image)
    with pytest.raises(FrameRejected, match="frame 1 is refused"):
        beside(image, grid)
    assert beside(frame(2)[0], grid) == (2, (4, 6))


def test_the_pipeline_gives_the_same_results():
    walks = []
    for pipeline in (False, True):
        segmenter = build_segmenter(configured(**{"masks.kind": "nano", "pipeline": pipeline}))
        assert hasattr(segmenter.rooms.masks, "begin") == pipeline
        walks.append([segmenter.step(frame(t, camera)[0]).instance_ids for t, camera in enumerate(PATH[:5])])
    for alone, beside in zip(*walks, strict=True):
        assert alone.any()
        assert alone.equal(beside)
