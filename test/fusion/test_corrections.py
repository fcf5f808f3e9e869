"""What hangs on key views follows them: voxels that fall together are one, instances that become one are joined."""

import copy
import dataclasses
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import make_segmenter, walk

from moonseg3r_core.fusion.overlap_votes import OverlapVotes, find_joins
from moonseg3r_core.fusion.voxel_map import VoxelMap
from moonseg3r_core.ops.anchors import move_poses
from moonseg3r_core.types import Corrections

FORTH = [(0.06 * t - 0.2, 0.01 * t, 0.0) for t in range(5)]
PATH = [*FORTH, *((x, 0.05, z) for x, _, z in FORTH)]


def make_pose(x=0.0, y=0.0, z=0.0, degrees=0.0):
    """A pose (4, 4) that turns about y and then shifts."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[c, 0, s, x], [0, 1, 0, y], [-s, 0, c, z], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def correct(**moves):
    """Corrections by key view: correct(_2=pose)."""
    return Corrections(torch.tensor([int(name[1:]) for name in moves]), torch.stack(list(moves.values())))


def observe(map_, x, ids, anchor, color=(0, 0, 0)):
    points = torch.tensor([[value, 0.005, 0.005] for value in x], dtype=torch.float32)
    map_.observe(points, torch.tensor([color] * len(x), dtype=torch.uint8), torch.tensor(ids), anchor)


def test_a_voxel_that_comes_to_another_adds_its_points_and_votes():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.004, 0.05], [3, 8], 1, (30, 30, 30))
    observe(m, [1.008, 1.012, 2.01], [3, 5, 5], 2, (60, 60, 60))
    m.correct(correct(_2=make_pose(-1.0)))
    points, colors = m.get_points()
    order = points[:, 0].argsort()
    torch.testing.assert_close(points[order][:, 0], torch.tensor([0.008, 0.05, 1.01]), atol=1e-6, rtol=0)
    assert colors[order].tolist() == [[50] * 3, [30] * 3, [60] * 3]
    ids, confidence = m.get_labels()
    assert ids[order].tolist() == [3, 8, 5]
    assert confidence[order].tolist() == pytest.approx([2 / 3, 1, 1])
    assert m.votes.find_ids(torch.tensor([[1.01, 0.005, 0.005], [2.01, 0.005, 0.005]])).tolist() == [5, 0]


def test_what_hangs_on_no_key_view_or_on_another_stays():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.01], [1], 0)
    observe(m, [0.05], [2], 1)
    observe(m, [0.05], [2], 2)  # the voxel has its place from key view 1
    before = m.get_points()[0]
    assert len(m.correct(correct(_2=make_pose(1.0)))) == 0
    assert m.get_points()[0].equal(before)
    m.correct(correct(_1=make_pose(1.0)))
    assert sorted(m.get_points()[0][:, 0].tolist()) == pytest.approx([0.01, 1.05])


def test_a_similarity_scales_the_place():
    m = VoxelMap(0.02, "cpu")
    observe(m, [0.51], [1], 1)
    m.correct(correct(_1=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))))
    torch.testing.assert_close(m.get_points()[0], torch.tensor([[1.02, 0.01, 0.01]]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 3)), max_size=30),
    st.lists(st.tuples(st.integers(1, 3), st.integers(-9, 9)), max_size=4),
)
def test_the_map_is_that_of_a_dictionary(observations, moves):
    """Voxels by place: their points, votes and key view, moved by whole voxels."""
    m, truth = VoxelMap(0.02, "cpu"), {}
    for place, id, anchor in observations:
        observe(m, [0.01 + 0.02 * place], [id], anchor)
        points, votes, _ = truth.setdefault(place, [0, Counter(), anchor])
        truth[place][0] = points + 1
        votes[id] += 1
    for anchor, voxels in moves:
        m.correct(correct(**{f"_{anchor}": make_pose(0.02 * voxels)}))
        stay = {place: voxel for place, voxel in truth.items() if voxel[2] != anchor}
        for place, (points, votes, _) in ((p, v) for p, v in truth.items() if v[2] == anchor):
            there = stay.setdefault(place + voxels, [0, Counter(), anchor])
            there[0], there[1] = there[0] + points, there[1] + votes
        truth = stay
    places = ((m.get_points()[0][:, 0] - 0.01) / 0.02).round().int().tolist()
    assert sorted(places) == sorted(truth)
    for place, label, share in zip(places, *(values.tolist() for values in m.get_labels()), strict=True):
        points, votes, _ = truth[place]
        most = max((n for id, n in votes.items() if id), default=0)
        assert votes[label] == most or not most
        assert share == pytest.approx(most / points)
        assert label or not most


def test_ids_join_that_meet_mostly_each_other():
    voxels = {1: range(10), 2: range(8), 3: range(30), 4: range(30, 34), 5: range(30, 34), 6: range(10, 30)}
    places, ids = zip(*((place, id) for id, all_ in voxels.items() for place in all_), strict=True)
    # 1 and 2 share 8 of 10; 3 is more than any that lie in it, but 6 is most of it; 4 and 5 are too small to tell.
    assert list(find_joins(torch.tensor(places), torch.tensor(ids))) == [(1, 2), (3, 6)]
    assert list(find_joins(torch.zeros(0), torch.zeros(0))) == []


def test_neighbours_that_move_alike_do_not_meet():
    votes, generator = OverlapVotes(0.05, "cpu"), torch.Generator().manual_seed(0)
    points = torch.rand(5000, 3, generator=generator)
    votes.observe(points, (points[:, 0] * 50).long() + 1, 1)  # thin slices: each shares voxels with the next
    assert list(votes.correct(correct(_1=make_pose(0.1, 0.2, 0.3, 20)))) == []


class Drift:
    """Moves the world of all frames from `start` on, which hang on key view 2, and moves it back at frame `end`."""

    def __init__(self, reconstruction, world_from_drifted, start, end):
        self.reconstruction, self.pose, self.start, self.end = reconstruction, world_from_drifted, start, end

    def __call__(self, frame):
        drifts = self.start <= frame.index < self.end
        pose = torch.linalg.inv(self.pose) @ frame.world_from_camera if drifts else frame.world_from_camera
        geometry = self.reconstruction(dataclasses.replace(frame, world_from_camera=pose))
        moves = correct(_2=self.pose) if frame.index == self.end else Corrections.empty()
        return dataclasses.replace(geometry, anchor=1 + (frame.index >= self.start), corrections=moves)


@pytest.fixture(scope="module")
def drifted():
    """Past the boards, and again half a metre and ten degrees off."""
    segmenter, masks = make_segmenter()
    drift = Drift(segmenter.stages.reconstruction, make_pose(0.5, degrees=10), len(FORTH), len(PATH))
    segmenter.replace_stages(reconstruction=drift)
    return segmenter, masks, walk(segmenter, masks, PATH)


@pytest.fixture(scope="module")
def returned(drifted):
    """The drift is found, and the boards are seen once more."""
    segmenter, masks, walked = copy.deepcopy(drifted)
    return segmenter, walked + walk(segmenter, masks, PATH[-1:], start=len(PATH))


def list_things(segmenter):
    return [i for i in segmenter.snapshot().instances if i.points > 20]


def test_nothing_is_double_once_a_drift_is_found(drifted, returned):
    assert len(list_things(drifted[0])) > 4
    segmenter, _ = returned
    things = list_things(segmenter)
    assert [i.id for i in things] == [1, 2, 3, 4]
    straight, masks = make_segmenter()
    walk(straight, masks, [*PATH, PATH[-1]])
    exact = {i.id: i for i in straight.snapshot().instances}
    for thing in things:
        twin = exact[thing.id]
        assert thing.centroid == pytest.approx(twin.centroid, abs=0.05)
        assert thing.box_min == pytest.approx(twin.box_min, abs=0.05)
        assert thing.box_max == pytest.approx(twin.box_max, abs=0.05)


def test_ids_stay_when_a_drift_is_found(returned):
    segmenter, walked = returned
    for board in (1, 2, 3, 4):
        first, last = (r.instance_ids[t == board].mode().values.item() for r, t in (walked[0], walked[-1]))
        assert first == last
    assert set(segmenter.final_ids.values()) <= {1, 2, 3, 4}


def test_the_memory_follows_too(returned):
    keys = returned[0].stages.memory.map.positions
    depths = torch.tensor([1.8, 1.6, 2.0, 2.5])
    assert ((keys[:, 2:] - depths).abs().amin(1)[~keys[:, 2].isnan()] < 0.02).float().mean() > 0.9


def test_a_saved_map_follows_as_one_that_went_on(drifted):
    (one, *_), (two, *_) = copy.deepcopy(drifted), copy.deepcopy(drifted)
    two.stages.store.load_state_dict(one.stages.store.state_dict())
    for segmenter in (one, two):
        segmenter.stages.store.correct(correct(_2=make_pose(0.5, degrees=10)))
    one, two = one.snapshot(), two.snapshot()
    assert one.points.equal(two.points)
    assert one.instance_ids.equal(two.instance_ids)


def test_a_map_from_before_key_views_loads_and_never_moves(drifted):
    segmenter = copy.deepcopy(drifted[0])
    for stage in (segmenter.stages.store, segmenter.stages.memory):
        state = stage.state_dict()
        old = {k: v for k, v in state.items() if not k.endswith("anchors") and k != "votes.points"}
        assert len(old) < len(state)
        stage.load_state_dict(old)
        stage.correct(correct(_2=make_pose(0.5, degrees=10)))
        again = stage.state_dict()
        assert all(again[name].equal(values) for name, values in old.items())


def test_poses_follow_their_key_views_and_stay_rigid():
    double = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    poses = move_poses([make_pose(1.0), make_pose(1.0, degrees=30)], [1, 2], correct(_2=double))
    assert poses[0].equal(make_pose(1.0))
    torch.testing.assert_close(poses[1], make_pose(2.0, degrees=30))
