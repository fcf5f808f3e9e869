"""The voxel hash: keys to rows, whatever is stored and in whatever order it comes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.ops.voxels import VoxelHash, compute_voxel_keys, find_first_in_voxels, grow_rows


def test_points_of_one_voxel_share_a_key():
    points = torch.tensor([[0.01, 0.01, 0.01], [0.019, 0.0, 0.005], [0.021, 0.0, 0.0], [-0.001, 0.0, 0.0]])
    keys = compute_voxel_keys(points, 0.02)
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3
    assert (keys >= 0).all()


def test_far_points_are_clamped_not_wrapped():
    far = compute_voxel_keys(torch.tensor([[1e9, 0.0, 0.0], [-1e9, 0.0, 0.0], [0.0, 1e9, 0.0]]), 0.02)
    assert len(set(far.tolist())) == 3
    assert (far >= 0).all()


def test_the_first_point_of_each_voxel_stays():
    points = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9], [1.1, 0.1, 0.1], [0.2, 0.2, 0.2], [-0.1, 0.1, 0.1]])
    assert find_first_in_voxels(points, 1.0).tolist() == [0, 2, 4]
    assert find_first_in_voxels(points[:0], 1.0).tolist() == []


def test_points_that_come_later_leave_the_first_of_each_voxel():
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    early, late = find_first_in_voxels(points[:1000], 0.5), find_first_in_voxels(points, 0.5)
    assert late[: len(early)].tolist() == early.tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), max_size=80), max_size=8))
def test_hash_is_a_dictionary(batches):
    table, truth = VoxelHash(capacity=4), {}
    for batch in batches:
        rows = table.insert(torch.tensor(batch, dtype=torch.int64)).tolist()
        for key, row in zip(batch, rows, strict=True):
            assert truth.setdefault(key, row) == row
    assert len(table) == len(truth)
    assert sorted(truth.values()) == list(range(len(truth)))
    asked = torch.arange(301)
    assert table.find(asked).tolist() == [truth.get(key, -1) for key in range(301)]
    again = VoxelHash(capacity=4)
    again.insert(torch.tensor([500, 7]))
    again.load_state_dict(table.state_dict())
    assert again.find(asked).tolist() == table.find(asked).tolist()
    assert again.insert(asked).tolist() == table.insert(asked).tolist()
    assert again.find(torch.tensor([500])).tolist() == [-1], "what was there before is forgotten"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 60), max_size=40)), max_size=12))
def test_removed_keys_are_gone_and_the_last_rows_take_their_places(batches):
    table, order = VoxelHash(capacity=4), []
    for adds, batch in batches:
        if adds:
            table.insert(torch.tensor(batch, dtype=torch.int64))
            order += sorted(set(batch).difference(order))
        else:
            gone = sorted(set(batch).intersection(order))
            rows = torch.tensor([order.index(key) for key in gone], dtype=torch.int64)
            places, sources = table.remove(rows)
            left = order[: len(order) - len(gone)]
            for place, source in zip(places.tolist(), sources.tolist(), strict=True):
                left[place] = order[source]
            order = left
            assert not set(order).intersection(gone)
        assert len(table) == len(order)
        assert table.keys.tolist() == order
        known = {key: row for row, key in enumerate(order)}
        assert table.find(torch.arange(61)).tolist() == [known.get(key, -1) for key in range(61)]


def test_new_rows_ascend_with_the_key():
    assert VoxelHash().insert(torch.tensor([9, 2, 5, 2])).tolist() == [2, 0, 1, 0]


def test_growing_keeps_what_is_there():
    store = torch.arange(3.0)
    assert grow_rows(store, 3) is store
    larger = grow_rows(store, 4)
    assert len(larger) >= 4
    assert larger[:3].tolist() == [0.0, 1.0, 2.0]
