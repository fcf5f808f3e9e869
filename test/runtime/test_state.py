"""What is remembered, taken out and put back: the walk goes on as if it had never been interrupted."""

import dataclasses
import itertools

import pytest
import torch
from billboards import frame
from walks import EAGER, make_segmenter, split, walk

from moonseg3r_core.errors import InputError
from moonseg3r_core.fusion import store
from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.fusion.tables import renumber_frames

PATH = [(0.01 * t - 0.1, 0.0, 0.0) for t in range(18)]
TWICE = {"fusion.consensus_views": 2, "fusion.consensus_rate": 0.3}  # halves join at the second whole, in frame 2
SCRAPS = {"fusion.parts": "new", "fusion.consensus": "none"}
TIGHT = {"memory.index.max_keys": 20, "memory.index.max_queries": 20, "memory.index.queries_per_key": 3}


def scraps(t, ids):
    """In the first frames masks of corners come and go: they lead no voxel afterwards."""
    corner = (ids == 2) & (torch.arange(ids.shape[0])[:, None] < 20 + 4 * t)
    return torch.where(corner, 9, ids) if t in (1, 2) else ids


WALKS = [
    (TWICE, split),
    (EAGER, split),
    (EAGER | TIGHT, split),
    (SCRAPS, scraps),
    ({"memory.kind": "none"}, lambda t, ids: ids),
]


@pytest.fixture(autouse=True)
def retire_often(monkeypatch):
    monkeypatch.setattr(store, "RETIRE_EVERY", 4)


def same(one, two):
    """Whether two states hold the same names and, to the last bit, the same tensors."""
    return one.keys() == two.keys() and all(
        one[n].dtype == two[n].dtype
        and one[n].shape == two[n].shape
        and one[n].numpy().tobytes() == two[n].numpy().tobytes()
        for n in one
    )


def alike(one, two):
    """As `same`, but real numbers to a millionth: the same sums on memory aligned otherwise differ in the last bit."""
    real = {n for n in one if one[n].dtype == torch.float32}
    return same(*({n: t for n, t in state.items() if n not in real} for state in (one, two))) and all(
        torch.allclose(one[n], two[n], rtol=0, atol=1e-6, equal_nan=True) for n in real
    )


def resumed(segmenter, settings):
    """Another segmenter of the same settings that goes on from this one's state, and its mask stage."""
    other, given = make_segmenter(**settings)
    other.load_state_dict(segmenter.state_dict())
    return other, given


@pytest.mark.parametrize(
    ("settings", "change", "pause"), [(*w, p) for w, p in zip(WALKS, (2, 5, 13, 13, 2), strict=True)]
)
def test_going_on_equals_never_having_stopped(settings, change, pause):
    never, once = make_segmenter(**settings), make_segmenter(**settings)
    walk(*never, PATH[:pause], change)
    walk(*once, PATH[:pause], change)
    again = resumed(once[0], settings)
    expected, got = (walk(*h, PATH[pause:], change, start=pause) for h in (never, again))
    for (a, _), (b, _) in zip(expected, got, strict=True):
        assert a.instance_ids.equal(b.instance_ids)
        assert a.assignment.instance_ids.equal(b.assignment.instance_ids)
    a, b = never[0].snapshot(), again[0].snapshot()
    for name in ("points", "colors", "instance_ids", "confidence"):
        assert getattr(a, name).equal(getattr(b, name)), name
    assert [dataclasses.replace(i, score=0) for i in a.instances] == [
        dataclasses.replace(i, score=0) for i in b.instances
    ]
    assert never[0].final_ids == again[0].final_ids
    assert alike(never[0].state_dict(), again[0].state_dict())


def test_these_walks_join_and_retire():
    """Or the test above would hold for less than it says."""
    (joined, given), (retired, other) = make_segmenter(**EAGER), make_segmenter(**SCRAPS)
    halves = make_segmenter(**TWICE)
    walk(*halves, PATH[:2], split)
    assert not halves[0].final_ids
    walk(*halves, PATH[2:3], split, start=2)
    assert halves[0].final_ids
    walk(joined, given, PATH[:5], split)
    walk(retired, other, PATH[:13], scraps)
    assert joined.final_ids
    assert retired.state_dict()["store.retired.whole"].shape[0] > 0
    tight, given = make_segmenter(**EAGER | TIGHT)
    walk(tight, given, PATH[:13], split)
    assert tight.state_dict()["memory.map.free"].shape[0] > 0
    assert int(tight.state_dict()["memory.bank.end"]) > TIGHT["memory.index.max_queries"]


@pytest.mark.parametrize(("settings", "change"), WALKS)
def test_saved_twice_is_saved_once(settings, change):
    segmenter, given = make_segmenter(**settings)
    walk(segmenter, given, PATH[:13], change)
    once = segmenter.state_dict()
    assert same(once, segmenter.state_dict())
    assert same(once, resumed(segmenter, settings)[0].state_dict())


def test_a_state_is_safe_to_keep():
    segmenter, given = make_segmenter(**EAGER)
    walk(segmenter, given, PATH[:7], split)
    state = segmenter.state_dict()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    other, masks = resumed(segmenter, EAGER)
    walk(segmenter, given, PATH[7:], split, start=7)
    assert same(state, kept)
    other.load_state_dict(state)
    walk(other, masks, PATH[:7], split, start=7)  # over known ground: what is there is counted in place
    assert same(state, kept), "what was loaded is a copy too"


def test_only_what_is_used_is_saved():
    segmenter, given = make_segmenter()
    walk(segmenter, given, PATH[:5])
    state, points = segmenter.state_dict(), len(segmenter.snapshot())
    assert {len(state[f"store.map.{n}"]) for n in ("sums", "votes.voxels.keys", "votes.ids", "votes.seen")} == {points}
    assert len(state["memory.bank.queries"]) == int(state["memory.bank.end"])
    assert torch.isfinite(state["memory.map.positions"]).all()


def test_loading_forgets_what_was_there():
    one, two = make_segmenter(**EAGER), make_segmenter(**EAGER)
    walk(*one, PATH[:3], split)
    walk(*two, [(3.0, 1.0, 0.0)] * 6)
    two[0].load_state_dict(one[0].state_dict())
    assert same(one[0].state_dict(), two[0].state_dict())


def test_a_state_that_is_not_whole_changes_nothing():
    """Each tensor in turn is missing, or of another shape, or of another type: the error names it."""
    segmenter, given = make_segmenter(**EAGER)
    walk(segmenter, given, PATH[:7], split)
    state = segmenter.state_dict()
    walk(segmenter, given, PATH[7:], split, start=7)
    before = segmenter.state_dict()
    faults = itertools.cycle((lambda tensor: None, lambda tensor: tensor[..., None], lambda tensor: tensor.half()))
    for (name, tensor), damage in zip(state.items(), faults, strict=False):
        damaged = state | {name: damage(tensor)}
        with pytest.raises(InputError, match=rf"^{name} must be "):
            segmenter.load_state_dict({n: t for n, t in damaged.items() if t is not None})
    assert same(segmenter.state_dict(), before)


def test_instances_with_state_tokens():
    instances = dataclasses.replace(
        Instances.empty(),
        ids=torch.tensor([2, 5]),
        features=torch.rand(2, 3),
        boxes=torch.full((2, 2, 3), torch.nan),
        state_tokens=torch.rand(2, 4),
        observations=torch.ones(2),
        similarity=torch.rand(2),
        first_frame=torch.tensor([0, 1]),
        last_frame=torch.tensor([1, 1]),
        next_id=9,
    )
    state = instances.state_dict()
    assert same(state, Instances.from_state(state).state_dict())
    assert Instances.from_state(state).next_id == 9
    short = state | {"state_tokens": torch.rand(1, 4)}
    with pytest.raises(InputError, match=r"^state_tokens must be \(2, S\), got \(1, 4\)"):
        Instances.from_state(short)


STAMP = 1_789_000_000_123_456_789  # nanoseconds: float64 would lose the last digits


def test_frames_that_are_numbered_by_their_stamp():
    plain, stamped = make_segmenter(**EAGER), make_segmenter(**EAGER)
    first = walk(*plain, PATH[:9], split)
    stamps = [STAMP + 33_333_333 * t for t in range(9)]
    for t, (stamp, camera) in enumerate(zip(stamps, PATH[:9], strict=True)):
        image, ids = frame(t, camera)
        stamped[1].ids[stamp] = split(t, ids)
        result = stamped[0].step(dataclasses.replace(image, index=stamp))
        assert result.index == stamp
        assert result.instance_ids.equal(first[t][0].instance_ids)
    a, b = (h[0].snapshot().instances for h in (plain, resumed(stamped[0], EAGER)))
    assert [(stamps[i.first_frame], stamps[i.last_frame]) for i in a] == [(i.first_frame, i.last_frame) for i in b]


def test_the_state_of_numbered_frames_renumbered_is_that_of_stamped_ones():
    (plain, given), (stamped, stamped_given) = make_segmenter(**SCRAPS), make_segmenter(**SCRAPS)
    walk(plain, given, PATH, scraps)
    for t, camera in enumerate(PATH):
        image, ids = frame(t, camera)
        stamped_given.ids[STAMP + t] = scraps(t, ids)
        stamped.step(dataclasses.replace(image, index=STAMP + t))
    assert plain.stages.store.retired
    assert alike(renumber_frames(plain.state_dict(), lambda numbers: numbers + STAMP), stamped.state_dict())
