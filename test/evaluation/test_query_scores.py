"""Scores of queries, drawn by hand: in training (a query finds its object again) and in the pipeline (splits, returns)."""

import math

import pytest
import torch

from moonseg3r_core.evaluation.metrics.queries import Repairs, count_repairs, find_owners, find_returns

pytest.importorskip("lightning_fabric")

from moonseg3r_core.refinement.learned import QuerySizes
from moonseg3r_core.training.queries.clips import QueryBatch
from moonseg3r_core.training.queries.learner import QueryLearner
from moonseg3r_core.training.queries.scores import (
    HeldOutQueries,
    compute_auc,
    compute_nearest_share,
    compute_query_scores,
)

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]


def booleans(*values):
    return torch.tensor(values, dtype=torch.bool)


def test_area_is_the_share_of_pairs_in_order():
    values = torch.tensor([0.9, 0.8, 0.7, 0.1])
    assert compute_auc(values, booleans(1, 1, 0, 0)) == 1
    assert compute_auc(values, booleans(0, 0, 1, 1)) == 0
    assert compute_auc(values, booleans(1, 0, 1, 0)) == 0.75  # 0.9 beats both, 0.7 one of two
    assert compute_auc(torch.tensor([0.5, 0.5, 0.1]), booleans(1, 0, 0)) == 0.75  # a tie is half
    assert compute_auc(torch.zeros(5), booleans(1, 0, 0, 0, 1)) == 0.5


@pytest.mark.parametrize("positive", [(), (1, 1), (0, 0)])
def test_area_without_pairs_is_unknown(positive):
    assert math.isnan(compute_auc(torch.zeros(len(positive)), booleans(*positive)))


def test_nearest_is_the_share_of_those_that_can_be_found_which_are():
    alike = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.8, 0.9], [0.9, 0.1, 0.5], [1.0, 0.0, 0.0]])
    same = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    everything = torch.ones(4, 3, dtype=torch.bool)
    assert compute_nearest_share(alike, same, everything) == pytest.approx(1 / 3)  # the last row has nothing to find
    without = everything.clone()
    without[1, 2] = without[2, 0] = False
    assert compute_nearest_share(alike, same, without) == pytest.approx(1)
    assert math.isnan(compute_nearest_share(alike, same, ~everything))
    assert math.isnan(compute_nearest_share(alike[:0], same[:0], everything[:0]))


def test_queries_that_tell_objects_apart_score_one():
    """Three frames; object 1 lies east, 2 north; in the last frame 1 is split. Masks of no object lie anywhere."""
    queries = torch.tensor([[EAST, NORTH, WEST], [NORTH, EAST, NORTH], [EAST, NORTH, EAST]])
    shown = torch.tensor([[1, 2, 0], [2, 1, 0], [1, 2, 1]])
    assert compute_query_scores(queries, shown) == {"again": 1, "nearest": 1, "split": 1}
    turned = torch.tensor([[1, 2, 0], [1, 2, 0], [1, 2, 2]])
    scores = compute_query_scores(queries, turned)
    assert scores["again"] < 1
    assert scores["nearest"] < 1
    assert scores["split"] < 1


def test_again_on_paper():
    """Two frames, two objects: of four pairs the two of one object have cosines 1 and 0, the two others 0 and 0."""
    queries, shown = torch.tensor([[EAST, NORTH], [EAST, WEST]]), torch.tensor([[1, 2], [1, 2]])
    # Object 1: 1 beats 0 and -1. Object 2: north and west 0, a tie with 0 (1 then, 2 now is -1; 2 then, 1 now is 0).
    scores = compute_query_scores(queries, shown)
    assert scores["again"] == pytest.approx((2 + 1.5) / 4)
    assert scores["nearest"] == 1
    assert math.isnan(scores["split"]), "no object is split"


def test_nearest_looks_eight_frames_back():
    queries = torch.tensor([[EAST, NORTH]]).repeat(9, 1, 1)
    shown = torch.tensor([[1, 2]]).repeat(9, 1)
    queries[1:8] = queries[1:8].flip(1)
    assert compute_query_scores(queries, shown)["nearest"] == 1
    queries[0] = queries[0].flip(0)
    assert compute_query_scores(queries, shown)["nearest"] == 0


def test_how_objects_and_masks_are_numbered_does_not_matter():
    torch.manual_seed(0)
    queries, shown = torch.randn(5, 6, 4), torch.randint(0, 4, (5, 6))
    order = torch.randperm(6)
    renamed = torch.tensor([0, 70, 5, 9])[shown]
    expected = compute_query_scores(queries, shown)
    assert compute_query_scores(queries[:, order], renamed[:, order]) == pytest.approx(expected)
    assert compute_query_scores(3 * queries, shown) == pytest.approx(expected)


@pytest.mark.parametrize("masks", [0, 3])
def test_scores_of_nothing_are_unknown(masks):
    scores = compute_query_scores(torch.randn(4, masks, 2), torch.zeros(4, masks, dtype=torch.int32))
    assert all(math.isnan(value) for value in scores.values())


def batch(frames=3, masks=4, cells=6):
    """A batch of one clip of random features; every mask has a cell, every query is recalled once it is there."""
    shares = torch.zeros(1, frames, masks, cells)
    shares[..., range(masks), range(masks)] = 1
    context = torch.zeros(1, frames, cells, frames * masks)
    known = torch.zeros(1, frames, frames * masks, dtype=torch.bool)
    for t in range(1, frames):
        known[:, t, : t * masks] = True
        context[:, t, :, : t * masks] = 1 / (t * masks)
    return QueryBatch(
        geometric=torch.randn(1, frames, cells, 3), semantic=torch.randn(1, frames, cells, 5), shares=shares, shown=shares,
        cells=torch.ones(1, cells, dtype=torch.bool), seen=(context.sum(-1) > 0).float(), context=context, known=known,
        owners=torch.tensor([1, 2, 2, 0]).repeat(1, frames, 1).int(),
    )  # fmt: skip


def test_held_out_clips_have_losses_and_scores():
    torch.manual_seed(0)
    learner = QueryLearner(QuerySizes(3, 5, width=16, heads=2, layers=1)).train()
    one, other = batch(), batch()
    scores = HeldOutQueries([one, other]).compute_scores(learner)
    assert learner.training
    assert set(scores) == {"seg", "dist", "xseg", "again", "nearest", "split"}
    assert all(math.isfinite(value) for value in scores.values())
    with torch.no_grad():
        losses = [float(learner(each)["seg"]) for each in (one, other)]
    assert scores["seg"] == pytest.approx(sum(losses) / 2)
    assert HeldOutQueries([]).compute_scores(learner) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scores_on_a_gpu_are_the_same():
    torch.manual_seed(0)
    queries, shown = torch.randn(5, 6, 4), torch.randint(0, 4, (5, 6))
    assert compute_query_scores(queries.cuda(), shown.cuda()) == pytest.approx(compute_query_scores(queries, shown))


def test_the_owner_of_a_mask_is_the_object_of_most_of_its_pixels():
    labels = torch.tensor([[1, 1, 1, 2], [2, 2, 0, 0], [3, 3, 0, 0]], dtype=torch.int32)
    ids = torch.tensor([[7, 7, 9, 9], [9, 0, 5, 5], [0, 0, 5, 5]], dtype=torch.int32)
    assert find_owners(labels, ids, 4).tolist() == [7, 9, 0, 0]  # mask 3 shows nothing, mask 4 has no pixel
    assert find_owners(0 * labels, ids, 0).tolist() == []
    assert find_owners(labels[:0], ids[:0], 2).tolist() == [0, 0]


def counted(owner, group):
    return count_repairs(torch.tensor(owner, dtype=torch.int64), torch.tensor(group, dtype=torch.int64))


@pytest.mark.parametrize(
    ("owner", "group", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], Repairs(objects=3)),
        ([1, 1, 2], [1, 1, 2], Repairs(objects=2, split=1, whole=1)),
        ([1, 1, 2], [1, 2, 3], Repairs(objects=2, split=1)),
        ([1, 1, 1], [1, 1, 2], Repairs(objects=1, split=1)),  # half made whole is not whole
        ([1, 1, 2], [1, 1, 1], Repairs(objects=2, split=1, whole=1, wrong=1)),
        ([1, 2, 3], [4, 4, 4], Repairs(objects=3, wrong=2)),
        ([1, 2, 1, 2], [1, 1, 2, 2], Repairs(objects=2, split=2, wrong=2)),
        ([0, 0, 1], [1, 1, 1], Repairs(objects=1)),  # masks of no object join at will
        ([], [], Repairs()),
    ],
)
def test_repairs_on_paper(owner, group, expected):
    assert counted(owner, group) == expected


def seen_as(line):
    """Frames from a line of ids of object 1, a point where it is out of view; object 2 is there all the time."""
    return [({1: int(word)} if word != "." else {}) | {2: 99} for word in line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("33...33", [(3, 3)]),
        ("33...44", [(3, 4)]),
        ("33..33", []),  # not away for long enough
        ("3...33", []),  # not shown for long enough before
        ("33...3", []),  # nor after
        ("3.3...44", [(3, 4)]),  # shown is counted, gaps or none
        ("333...4433333", [(3, 4)]),  # the first frames after it decide
        ("334....5566", [(3, 5)]),  # what it mostly was before
        ("33...44...55", [(3, 4), (3, 5)]),
        ("00...33", []),  # no mask showed it before: it had no id to get back
        ("3303...0440", [(3, 4)]),  # frames in which no mask shows it say nothing
        ("330...0040", []),  # shown once after
        ("33...4...44", [(3, 4)]),  # a stay of one frame is no return, though it was seen
        (".......", []),
        ("3333333", []),
    ],
)
def test_returns_on_paper(line, expected):
    assert find_returns(seen_as(line), away=3, shown=2) == expected
