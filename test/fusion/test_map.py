"""The labelled map and the instance store: votes by hand, exact under any order, joins by name."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import make_segmenter, split, walk

from moonseg3r_core.fusion.voxel_map import VoxelMap


def observe(map_, x, ids, color=(0, 0, 0)):
    points = torch.tensor([[value, 0.005, 0.005] for value in x], dtype=torch.float32).view(-1, 3)
    colors = torch.tensor([color] * len(x), dtype=torch.uint8).view(-1, 3)
    map_.observe(points, colors, torch.tensor(ids, dtype=torch.int64))


def labels(map_):
    return map_.get_labels()


def test_one_voxel_by_hand():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.004, 0.008, 0.012], [3, 3, 5], (30, 60, 90))
    points, colors = m.get_points()
    torch.testing.assert_close(points, torch.tensor([[0.008, 0.005, 0.005]]))
    assert colors.tolist() == [[30, 60, 90]]
    ids, confidence = labels(m)
    assert ids.tolist() == [3]
    assert confidence.tolist() == pytest.approx([2 / 3])
    assert m.votes.find_ids(points).tolist() == [3]


def test_ties_go_to_the_newest():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01], [9])
    observe(m, [0.01], [4])
    assert labels(m)[0].tolist() == [4]
    assert m.votes.find_ids(torch.tensor([[0.01, 0.005, 0.005]])).tolist() == [4]


def test_unlabelled_points_have_a_voxel_and_no_vote():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01, 0.05], [0, 7])
    assert len(m) == 2
    assert sorted(labels(m)[0].tolist()) == [0, 7]
    observe(m, [0.05, 0.05, 0.05], [0, 0, 0])
    assert labels(m)[0].max() == 7
    assert labels(m)[1].max() == pytest.approx(1 / 4)


def test_points_without_a_vote_to_give_count_for_the_place_alone():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.004, 0.008], [3, 0], (30, 60, 90))
    m.extend(torch.tensor([[0.012, 0.005, 0.005], [0.05, 0.005, 0.005]]), torch.full((2, 3), 90, dtype=torch.uint8))
    points, colors = m.get_points()
    torch.testing.assert_close(points[:, 0], torch.tensor([0.008, 0.05]))
    assert colors.tolist() == [[50, 70, 90], [90, 90, 90]]
    ids, confidence = labels(m)
    assert ids.tolist() == [3, 0]
    assert confidence.tolist() == pytest.approx([1 / 2, 0])


def test_nothing_is_known_of_an_empty_map():
    m = VoxelMap(0.02, "cpu")
    assert m.votes.find_ids(torch.rand(3, 3)).tolist() == [0, 0, 0]
    observe(m, [], [])
    assert len(m) == 0
    assert labels(m)[0].shape == (0,)


def test_a_renamed_id_sums_its_votes():
    m = VoxelMap(0.02, "cpu")
    for id in (1, 1, 2, 3, 3, 3):
        observe(m, [0.01], [id])
    assert labels(m)[0].tolist() == [3]
    m.votes.rename(2, 1)
    assert labels(m)[0].tolist() == [3]  # three votes each, and those for 3 are newer
    observe(m, [0.01], [1])
    ids, confidence = labels(m)
    assert ids.tolist() == [1]
    assert confidence.tolist() == pytest.approx([4 / 7])


def test_a_renamed_id_takes_its_place_where_the_other_never_was():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01, 0.05], [2, 5])
    m.votes.rename(2, 1)
    assert sorted(labels(m)[0].tolist()) == [1, 5]
    assert m.votes.find_ids(torch.tensor([[0.01, 0.005, 0.005]])).tolist() == [1]


def test_an_id_whose_votes_are_removed_never_wins_again():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01, 0.01], [5, 7])  # as many votes in the same frame: the greater id wins
    assert labels(m)[0].tolist() == [7]
    m.votes.remove_votes(torch.tensor([5]))
    m.votes.rename(7, 2)  # else 5 would win now
    ids, confidence = labels(m)
    assert ids.tolist() == [2]
    assert confidence.tolist() == pytest.approx([1 / 2])


def test_a_voxel_forgets_the_least_voted():
    m = VoxelMap(0.02, "cpu")
    for id in (1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5):  # five ids for four places: 2, the oldest of the least, goes
        observe(m, [0.01], [id])
    assert labels(m)[0].tolist() == [5]
    observe(m, [0.01] * 4, [1, 1, 2, 2])
    assert labels(m)[0].tolist() == [1]
    assert labels(m)[1].tolist() == pytest.approx([5 / 17])


def test_many_wrong_ids_cost_no_memory():
    m = VoxelMap(0.02, "cpu")
    for id in range(1, 60):
        observe(m, [0.01] * 3, [7, 7, 1000 + id])
    assert labels(m)[0].tolist() == [7]
    assert m.votes._ids.shape[1] == 4


def test_what_changed_is_told_once():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01, 0.05, 0.09], [1, 2, 2])
    assert m.votes.take_changed().tolist() == [0, 1, 2]
    assert m.votes.take_changed().tolist() == []
    observe(m, [0.05, 0.13], [1, 0])
    m.votes.rename(1, 3)  # of voxels 0 and 1
    assert m.votes.take_changed().tolist() == [0, 1, 3]


def test_snapshots_after_every_frame_equal_those_of_a_map_that_is_loaded():
    settings = {"fusion.consensus_views": 2, "fusion.consensus_rate": 0.3}
    segmenter, masks = make_segmenter(**settings)
    joined = False
    for t in range(8):
        walk(segmenter, masks, [(0.01 * t - 0.1, 0.0, 0.0)], split, start=t)
        other, _ = make_segmenter(**settings)
        other.load_state_dict(segmenter.state_dict())
        shown, anew = segmenter.snapshot(), other.snapshot()
        for name in ("points", "colors", "instance_ids", "confidence"):
            assert getattr(shown, name).equal(getattr(anew, name)), name
        for one, two in zip(shown.instances, anew.instances, strict=True):
            assert [one.id, one.points] == [two.id, two.points]
            for name in ("centroid", "box_min", "box_max"):
                assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-6), name
        joined |= bool(segmenter.final_ids)
    assert joined
    assert len(shown) > 1000


def test_an_old_snapshot_does_not_change():
    segmenter, masks = make_segmenter()
    walk(segmenter, masks, [(0.0, 0.0, 0.0)], split)
    before = segmenter.snapshot()
    copies = [getattr(before, name).clone() for name in ("points", "colors", "instance_ids", "confidence")]
    walk(segmenter, masks, [(0.05, 0.0, 0.0)], split, start=1)
    segmenter.snapshot()
    after = [getattr(before, name) for name in ("points", "colors", "instance_ids", "confidence")]
    assert all(a.equal(b) for a, b in zip(copies, after, strict=True))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=12), max_size=6))
def test_votes_are_counted_as_a_counter_would(frames):
    m, truth, newest = VoxelMap(0.02, "cpu"), Counter(), {}
    for time, frame in enumerate(frames):
        observe(m, [0.01 + 0.02 * x for x, _ in frame], [id for _, id in frame])
        truth.update(frame)
        newest |= dict.fromkeys(frame, time)
    x = ((m.get_points()[0][:, 0] - 0.01) / 0.02).round().int().tolist()
    for voxel, label, leading in zip(
        x, labels(m)[0].tolist(), m.votes.find_ids(m.get_points()[0]).tolist(), strict=True
    ):
        votes = {id: (n, newest[v, id]) for (v, id), n in truth.items() if v == voxel}
        assert votes[label] == max(votes.values())
        assert votes[leading][0] == max(votes.values())[0]


def test_a_mean_does_not_creep():
    """Twenty thousand observations of one point: in float32 the sum would lose millimetres."""
    m = VoxelMap(0.02, "cpu")
    for _ in range(2):
        observe(m, [50.013] * 10_000, [1] * 10_000)
    assert m.get_points()[0][0, 0].item() == pytest.approx(50.013, abs=1e-5)
