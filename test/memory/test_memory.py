"""The memory: keys, bank and map in exact small cases, then what must hold of recall whatever the scene."""

from pathlib import Path

import numpy as np
import pytest
import torch
from defaults import make_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.errors import ConfigError, InputError
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.memory.bank import QueryBank
from moonseg3r_core.memory.index_map import QueryIndexMap
from moonseg3r_core.memory.memory import NoMemory, select_most_seen
from moonseg3r_core.memory.neighbor_hash import NeighborHash
from moonseg3r_core.ops.spatial_keys import compute_spatial_keys
from moonseg3r_core.types import Geometry, PixelGrid, Queries

H, W, CELL = 48, 64, 8
K = torch.tensor([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "kitchen"


def view(depth, pose=None):
    """The geometry of a depth image (H, W) seen from a pose."""
    pose = torch.eye(4, dtype=torch.float64) if pose is None else pose
    depth = torch.as_tensor(depth, dtype=torch.float32).expand(H, W).clone()
    points = transform(unproject(depth, K), pose)
    return Geometry(points, (depth > 0).float(), depth, pose, K, PixelGrid(H, W))


def queries(labels, count=None, width=4, start=0.0):
    """Queries of labels (H, W); row m is filled with start + m, so that it can be told from all others."""
    count = int(labels.max()) if count is None else count
    features = (start + torch.arange(count, dtype=torch.float32))[:, None].expand(count, width).clone()
    zeros = torch.zeros(count)
    return Queries(features, labels.to(torch.int32), zeros.long(), torch.zeros(count, 2, 3), zeros)


def halves(left=1, right=2):
    labels = torch.full((H, W), left)
    labels[:, W // 2 :] = right
    return labels


def small_memory(**settings):
    return make_memory(**({"cell": CELL, "stride": 1, "merge_distance": 0.3} | settings))


def told(recalled):
    """The recalled queries by their number."""
    return sorted(recalled.queries[:, 0].tolist())


def turn(degrees, *translation):
    """A camera that looks `degrees` to the right, moved by a translation (x, y, z)."""
    angle = np.deg2rad(degrees)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = np.cos(angle)
    pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
    pose[:3, 3] = torch.tensor(translation or (0, 0, 0), dtype=torch.float64)
    return pose


# Spatial keys.


def test_a_key_is_the_mean_of_its_cells_points():
    geometry = view(2.0)
    keys = compute_spatial_keys(geometry, torch.zeros(H, W, dtype=torch.int32), CELL, 0.3)
    assert len(keys) == (H // CELL) * (W // CELL)
    torch.testing.assert_close(keys.positions[0], geometry.points[:CELL, :CELL].reshape(-1, 3).mean(0))
    assert (keys.masks == -1).all()


def test_a_cell_of_two_surfaces_gives_the_one_that_holds_more_than_half():
    depth = torch.full((H, W), 3.0)
    depth[:, :5] = 1.0  # 5 of 8 columns of the first cells
    depth[:, 12:16] = 1.0  # half of the second: no surface holds more than half
    keys = compute_spatial_keys(view(depth), torch.zeros(H, W, dtype=torch.int32), CELL, 0.3)
    first = keys.positions[keys.positions[:, 2] < 2]
    assert len(first) == H // CELL
    assert torch.equal(first[:, 2], torch.ones(len(first)))
    assert len(keys) == (H // CELL) * (W // CELL - 1)


def test_a_key_lies_in_the_mask_that_more_than_half_of_its_cell_belongs_to():
    labels = torch.zeros(H, W, dtype=torch.int32)
    labels[:CELL, :4] = 3  # exactly half of the first cell
    labels[:CELL, 8:13] = 2  # more than half of the second
    labels[:CELL, 16:24:2], labels[:CELL, 17:24:2] = 1, 2  # two halves of the third
    assert compute_spatial_keys(view(2.0), labels, CELL, 0.3).masks[:4].tolist() == [-1, 1, -1, -1]


def test_cells_without_depth_and_cells_cut_by_the_border():
    depth = torch.zeros(H, W)
    depth[:20, :20] = 2.0
    labels = torch.ones(H, W, dtype=torch.int32)
    keys = compute_spatial_keys(view(depth), labels, CELL, 0.3)
    assert len(keys) == 9
    keys = compute_spatial_keys(view(2.0), labels, 40, 0.3)  # 48 x 64 is 2 x 2 cells, cut to 8 rows and 24 columns
    assert len(keys) == 4
    assert (keys.masks == 0).all()
    assert len(compute_spatial_keys(view(0.0), labels, CELL, 0.3)) == 0
    assert len(compute_spatial_keys(Geometry.empty(), torch.zeros(0, 0, dtype=torch.int32), CELL, 0.3)) == 0


# The bank.


def test_the_bank_counts_on_and_drops_the_oldest():
    bank = QueryBank(max_queries=5)
    for start in range(0, 12, 3):
        assert bank.append(torch.arange(start, start + 3.0)[:, None]).tolist() == list(range(start, start + 3))
    assert (bank.first, bank.end, len(bank)) == (7, 12, 5)
    assert bank.gather(torch.tensor([11, 7, 9]))[:, 0].tolist() == [11, 7, 9]
    for gone in (6, 12):
        with pytest.raises(ValueError, match=r"must be in 7\.\.11, got"):
            bank.gather(torch.tensor([gone]))


def test_more_queries_at_once_than_the_bank_holds():
    bank = QueryBank(max_queries=2)
    bank.append(torch.arange(5.0)[:, None])
    assert bank.gather(torch.arange(bank.first, bank.end))[:, 0].tolist() == [3, 4]


def test_the_unlimited_bank_keeps_all_and_no_gradient():
    bank = QueryBank(0)
    bank.append(torch.zeros(0, 3))
    for start in range(100):
        bank.append(torch.full((7, 3), float(start), requires_grad=True))
    assert len(bank) == 700
    kept = bank.gather(torch.arange(700))
    assert kept[:, 0].tolist() == [float(i // 7) for i in range(700)]
    assert not kept.requires_grad
    with pytest.raises(ValueError, match=r"must be \(M, 3\), got \(1, 4\)"):
        bank.append(torch.zeros(1, 4))


# The key index map.


def positions(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 3)


def held(index):
    """The map as {rounded position: its queries}."""
    slots = torch.arange(len(index.positions))
    offsets, members = index.get_queries(slots)
    return {
        tuple(round(x, 3) for x in p): members[offsets[i] : offsets[i + 1]].tolist()
        for i, p in enumerate(index.positions.tolist())
        if p[0] == p[0]
    }


def test_the_map_update_as_the_supplement_words_it():
    index = QueryIndexMap(0.3, "paper", 0, 0)
    index.update(positions((0, 0, 0), (0.1, 0, 0), (2, 0, 0)), np.array([0, 1, -1]))
    assert held(index) == {(0, 0, 0): [0], (0.1, 0, 0): [1], (2, 0, 0): []}, "the first frame appends all"
    # (-0.25 0 0) reaches only the first key; (0.2 0.1 0) both; (5 0 0) none.
    index.update(positions((-0.25, 0, 0), (0.2, 0.1, 0), (5, 0, 0)), np.array([2, 3, 4]))
    assert held(index) == {(-0.025, 0.05, 0): [0, 2, 3], (0.2, 0.1, 0): [1, 3], (2, 0, 0): [], (5, 0, 0): [4]}


def test_grid_also_merges_the_new_keys_of_a_cell():
    index = QueryIndexMap(0.3, "grid", 0, 0)
    index.update(positions((0.05, 0.1, 0.1), (0.15, 0.1, 0.1), (0.35, 0.1, 0.1)), np.array([0, 1, 0]))
    assert held(index) == {(0.1, 0.1, 0.1): [0, 1], (0.35, 0.1, 0.1): [0]}


def test_keys_that_come_to_the_same_place_are_one():
    index = QueryIndexMap(0.3, "paper", 0, 0)
    index.update(positions((0, 0, 0), (0.1, 0, 0), (0.2, 0, 0)), np.array([0, 1, 2]))
    index.update(positions((0.05, 0, 0)), np.array([3]))
    assert held(index) == {(0.05, 0, 0): [0, 1, 2, 3]}
    assert len(index) == 1
    index.update(positions((9, 0, 0)), np.array([4]))
    assert len(index.positions) == 3, "their slots are used again"


@settings(max_examples=9, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 3.0, 1000.0]))
def test_the_hash_finds_what_a_dict_of_cells_finds(seed, extent):
    generator = np.random.default_rng(seed)
    table, places = NeighborHash(0.3), {}
    for _ in range(4):
        slots = np.setdiff1d(generator.integers(0, 3000, 150), list(places))
        new = generator.uniform(-extent, extent, (len(slots), 3))
        if slots.max() >= len(table._next):
            table.reserve(int(slots.max()) + 1)
        table.insert(slots, table.compute_codes(new))
        places |= dict(zip(slots.tolist(), new, strict=True))
        gone = generator.permutation(list(places))[: len(places) // 3]
        table.remove(gone)
        places = {slot: place for slot, place in places.items() if slot not in gone}
        asked = generator.uniform(-extent, extent, (10, 3))
        rows, found = table.find_candidates(asked)
        cells = {slot: np.floor(place / 0.3) for slot, place in places.items()}
        near = [[s for s, c in cells.items() if np.abs(c - np.floor(a / 0.3)).max() <= 1] for a in asked]
        assert [sorted(found[rows == row].tolist()) for row in range(10)] == [sorted(n) for n in near]


def test_queries_per_key_keeps_the_newest_and_each_once():
    index = QueryIndexMap(0.3, "paper", queries_per_key=3, max_keys=0)
    for query in range(5):
        index.update(positions((0, 0, 0), (0.01, 0, 0)), np.array([query, query]))
    assert set(map(tuple, held(index).values())) == {(2, 3, 4)}


def test_the_least_recently_seen_keys_go():
    index = QueryIndexMap(0.3, "paper", queries_per_key=0, max_keys=2)
    for query, place in enumerate((0, 10, 0, 20)):
        index.update(positions((place, 0, 0)), np.array([query]))
    assert held(index) == {(0, 0, 0): [0, 2], (20, 0, 0): [3]}
    index.update(positions(*((i, 0, 0) for i in range(30, 35))), np.arange(4, 9))
    assert held(index) == {(33, 0, 0): [7], (34, 0, 0): [8]}
    assert len(index) == 2


def brute_force(old, new, distance=0.3):
    """The supplement's rule, in loops: keys [position, set of queries]."""
    result = {}
    for position, known in old:
        near = [n for n in new if np.linalg.norm(n[0].astype(np.float64) - position) <= distance]
        moved = np.mean([n[0].astype(np.float64) for n in near], axis=0).astype(np.float32) if near else position
        place = tuple(moved.tolist())  # keys that come to the same place are one
        result[place] = (moved, known.union(result.get(place, (moved, set()))[1], *(n[1] for n in near)))
    far = [n for n in new if all(np.linalg.norm(n[0].astype(np.float64) - o[0]) > distance for o in old)]
    return list(result.values()) + far


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4), st.sampled_from([0.5, 1.5, 4.0]))
def test_an_update_equals_the_rule_in_loops(seed, count, frames, extent):
    generator = np.random.default_rng(seed)
    index, plain = QueryIndexMap(0.3, "paper", 0, 0), []
    for frame in range(frames):
        new = generator.uniform(-extent, extent, (count, 3)).astype(np.float32)
        query = 10 * frame + generator.integers(-1, 5, count)
        query[query < 10 * frame] = -1
        index.update(new, query)
        plain = brute_force(plain, [(p, {int(q)} - {-1}) for p, q in zip(new, query, strict=True)])
    assert len(index) == len(plain)
    assert held(index) == {tuple(round(float(x), 3) for x in p): sorted(known) for p, known in plain}


def test_grid_bounds_the_density_that_paper_does_not():
    counts = {}
    for update in ("paper", "grid"):
        index, generator = QueryIndexMap(0.3, update, 0, 0), np.random.default_rng(0)
        for _ in range(10):
            index.update(generator.uniform(0, 3, (900, 3)).astype(np.float32) * (1, 1, 0), np.zeros(900, dtype=int))
        counts[update] = len(index)
    assert counts["grid"] <= 121 < counts["paper"]  # 11 x 11 cells of 0.3 m touch 3 x 3 m


# Recall.


def test_the_first_frame_recalls_nothing():
    for memory in (small_memory(), small_memory(occlusion="nearest"), NoMemory()):
        recalled = memory.recall(view(2.0))
        assert len(recalled) == 0
        assert recalled.index_map.equal(torch.full((H, W), -1, dtype=torch.int32))
        assert recalled.offsets.tolist() == [0]


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("update", ["paper", "grid"])
def test_what_was_remembered_is_recalled_from_the_same_pose(update, stride):
    memory, geometry, labels = small_memory(update=update, stride=stride), view(2.0), halves()
    labels[16:32, 16:32] = 3
    labels[40:44, 40:44] = 4  # smaller than half a cell: no key lies in it
    memory.remember(queries(labels), geometry)
    recalled = memory.recall(geometry)
    assert told(recalled) == [0, 1, 2]
    assert recalled.index_map.shape == (H, W)
    centre = int(recalled.index_map[H // 2, 4])
    assert recalled.members[recalled.offsets[centre] : recalled.offsets[centre + 1]].tolist() == [0]


def test_every_row_of_the_index_map_holds_queries():
    memory, geometry = small_memory(), view(2.0)
    labels = halves(left=0, right=1)
    memory.remember(queries(labels), geometry)
    recalled = memory.recall(geometry)
    rows = recalled.index_map.unique()
    assert rows.tolist() == [-1, *range(len(recalled.offsets) - 1)]
    assert (recalled.offsets.diff() > 0).all()
    assert (recalled.index_map[:, : W // 2 - CELL] == -1).all()


def test_a_query_out_of_view_is_not_recalled():
    memory = small_memory()
    memory.remember(queries(halves()), view(2.0))
    assert len(memory.recall(view(2.0, turn(180)))) == 0
    assert told(memory.recall(view(2.0, turn(50)))) == [1]


def test_a_query_behind_a_wall_is_hidden_by_what_is_seen_now():
    seen, blind = small_memory(), small_memory(occlusion="nearest")
    for memory in (seen, blind):
        memory.remember(queries(halves(), width=2), view(3.0))
    wall = torch.full((H, W), 3.0)
    wall[:, : W // 2] = 1.0  # before the left half
    assert told(seen.recall(view(wall))) == [1]
    assert told(blind.recall(view(wall))) == [0, 1]
    assert told(seen.recall(view(0.0))) == [0, 1], "no depth hides nothing"
    near_enough = view(2.8)
    assert told(seen.recall(near_enough)) == [0, 1], "less than 0.3 m behind is the same surface"


def test_a_key_of_the_wall_hides_those_behind_it():
    memory = small_memory(occlusion="nearest")
    memory.remember(queries(halves(1, 1)), view(3.0))
    memory.remember(queries(halves(1, 1), start=1.0), view(1.0))
    recalled = memory.recall(view(0.0))
    seen = recalled.members[recalled.offsets[recalled.index_map[10:38, 10:54].long().unique()]]
    assert recalled.queries[seen, 0].unique().tolist() == [1.0]


def test_moving_world_and_camera_together_changes_nothing():
    pose, labels = turn(20, 0.1, 0.2, -0.3), halves()
    depth = 2 + 0.5 * torch.rand(H, W, generator=torch.Generator().manual_seed(0)).cumsum(1) / W
    motion = turn(73, 1.7, -2.3, 0.9)
    found = []
    for world in (torch.eye(4, dtype=torch.float64), motion):
        memory = small_memory()
        memory.remember(queries(labels), view(depth, world))
        memory.remember(queries(labels, start=2.0), view(depth, world @ pose))
        found.append(memory.recall(view(depth, world @ turn(9, 0.05, 0, 0.1))))
    here, there = found
    assert here.queries.equal(there.queries)
    assert len(here) == 4
    assert (here.index_map == there.index_map).float().mean() > 0.99  # a rounded projection may move a border pixel


def test_the_most_seen_queries_are_kept():
    """Three keys at 5, 3 and 1 pixels with queries {7, 9}, {8, 9} and {6}: 9 is seen at 8 pixels, 7 at 5, 8 at 3."""
    offsets, members, pixels = torch.tensor([0, 2, 4, 5]), torch.tensor([7, 9, 8, 9, 6]), torch.tensor([5, 3, 1])
    kept, offsets, members = select_most_seen(offsets, members, pixels, 2)
    assert kept.tolist() == [7, 9]
    assert offsets.tolist() == [0, 2, 3, 3]
    assert members.tolist() == [0, 1, 1]
    kept, _, _ = select_most_seen(torch.tensor([0, 3]), torch.tensor([1, 2, 3]), torch.tensor([4]), 2)
    assert kept.tolist() == [2, 3], "of equals the newest"


def test_a_frame_may_recall_no_more_than_the_limit():
    memory, geometry = small_memory(max_recalled=3), view(2.0)
    for start in range(10):
        memory.remember(queries(halves(), start=2.0 * start), geometry)
    recalled = memory.recall(geometry)
    assert len(recalled) == 3
    assert set(recalled.members.tolist()) == {0, 1, 2}


def test_frames_without_masks_depth_or_pixels_flow_through():
    memory, geometry = small_memory(), view(2.0)
    memory.remember(Queries.empty(H, W, 4), geometry)
    memory.remember(queries(halves()), view(0.0))
    memory.remember(Queries.empty(0, 0, 4), Geometry.empty())
    assert len(memory.recall(Geometry.empty())) == 0
    assert len(memory.recall(geometry)) == 0
    memory.remember(queries(halves(), start=5.0), geometry)
    assert told(memory.recall(geometry)) == [5, 6]


def test_a_query_that_left_the_bank_is_never_recalled():
    memory, geometry = small_memory(max_queries=4, queries_per_key=0), view(2.0)
    for start in range(0, 20, 2):
        memory.remember(queries(halves(), start=float(start)), geometry)
        assert min(told(memory.recall(geometry))) >= start - 2
    away = view(2.0, turn(180))
    for start in range(100, 106, 2):
        memory.remember(queries(halves(), start=float(start)), away)
    assert len(memory.recall(geometry)) == 0, "the keys outlive their queries and recall none"
    memory.remember(queries(halves(), count=9, start=200.0), geometry)
    assert set(told(memory.recall(geometry))) <= {205.0, 206.0, 207.0, 208.0}


def test_the_limits_hold_over_a_long_walk():
    memory = small_memory(max_keys=200, max_queries=50, queries_per_key=4)
    for step in range(60):
        memory.remember(queries(halves(), start=2.0 * step), view(2.0, turn(7 * step, 0.01 * step, 0, 0)))
        assert len(memory.map) <= 200
        assert len(memory.bank) <= 50
    assert len(memory.map.positions) <= 200 + (H // CELL) * (W // CELL), "freed slots are used again"
    _, members = memory.map.get_queries(torch.arange(len(memory.map.positions)), 0)
    assert len(members) <= 4 * 200


def test_reset_forgets_even_the_width():
    memory, geometry = small_memory(), view(2.0)
    memory.remember(queries(halves(), width=4), geometry)
    memory.reset()
    assert len(memory.recall(geometry)) == 0
    memory.remember(queries(halves(), width=6), geometry)
    assert memory.recall(geometry).queries.shape == (2, 6)


@pytest.mark.parametrize("limits", [{}, {"max_queries": 7, "queries_per_key": 2, "max_keys": 60}])
def test_a_saved_memory_goes_on_where_it_was(limits):
    one, geometry = small_memory(**limits), view(2.0)
    for step in range(6):
        one.remember(queries(halves(), start=2.0 * step), view(2.0, turn(15 * step)))
    two = small_memory(**limits)
    two.load_state_dict(one.state_dict())
    for step in range(3):
        a, b = one.recall(geometry), two.recall(geometry)
        assert told(a) == told(b)
        assert (a.index_map < 0).equal(b.index_map < 0)
        for memory in (one, two):
            memory.remember(queries(halves(), start=100.0 + step), geometry)
    assert {n: t.nan_to_num().tolist() for n, t in one.state_dict().items()} == {
        n: t.nan_to_num().tolist() for n, t in two.state_dict().items()
    }
    with pytest.raises(InputError, match=r"map\.offsets must be in a saved state, got none"):
        two.load_state_dict({k: v for k, v in one.state_dict().items() if k != "map.offsets"})


def test_bad_input_is_refused_and_nothing_is_lost():
    memory, geometry = small_memory(), view(2.0)
    memory.remember(queries(halves()), geometry)
    with pytest.raises(ValueError, match=r"labels must be \(48, 64\), got \(5, 5\)"):
        memory.remember(queries(torch.ones(5, 5)), geometry)
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1, .*got 1\.\.2"):
        memory.remember(queries(halves(), count=1), geometry)
    with pytest.raises(ValueError, match=r"features must be \(M, 4\), got \(2, 9\)"):
        memory.remember(queries(halves(), width=9), geometry)
    assert told(memory.recall(geometry)) == [0, 1]
    for wrong in ({"occlusion": "x"}, {"update": "x"}, {"rasterizer": "x"}):
        with pytest.raises(ConfigError, match=rf"memory.index.{next(iter(wrong))} must be one of"):
            small_memory(**wrong)


def test_the_settings_are_those_of_the_configuration():
    assert len(make_memory().recall(view(2.0))) == 0


# One real use.


@pytest.mark.skipif(not KITCHEN.is_dir(), reason="no kitchen beside the repository")
@pytest.mark.parametrize("update", ["paper", "grid"])
def test_a_kitchen_walk_recalls_what_is_in_view(update):
    cv2 = pytest.importorskip("cv2")
    memory = make_memory(update=update)
    k = torch.from_numpy(np.loadtxt(KITCHEN / "intrinsic" / "intrinsic_depth.txt")[:3, :3]).float()
    frames = sorted(int(file.stem) for file in (KITCHEN / "depth").glob("*.png"))[:60:12]
    for start, number in enumerate(frames):
        depth = cv2.imread(str(KITCHEN / "depth" / f"{number}.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        depth = torch.from_numpy(depth)
        pose = torch.from_numpy(np.loadtxt(KITCHEN / "pose" / f"{number}.txt"))
        points = transform(unproject(depth, k), pose)
        geometry = Geometry(points, (depth > 0).float(), depth, pose, k, PixelGrid(*depth.shape))
        recalled = memory.recall(geometry)
        assert start == 0 or told(recalled)[-1] == start - 1, f"frame {number} must recall the frame before"
        labels = torch.ones(depth.shape, dtype=torch.int32)
        memory.remember(queries(labels, start=float(start)), geometry)
