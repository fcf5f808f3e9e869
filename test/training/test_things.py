"""More things for trainings: valid pieces, each one object; strewn over rooms they rest, meet nothing and leave the camera free."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from moonseg3r_core.synthetic import Renderer, furnish
from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data import things
from moonseg3r_core.training.data.camera_paths import sample_camera_path
from moonseg3r_core.training.data.near_paths import sample_near_path
from moonseg3r_core.training.data.strew import CLEAR, strew_things
from moonseg3r_core.training.data.strewn_rooms import make_strewn_room, split_groups
from moonseg3r_core.training.data.supports import find_supports
from moonseg3r_core.training.data.things.shapes import compute_bounds, compute_reach

SEEDS = (1_000_001, 1_000_020)
SINGLES = {
    make
    for makers in (things.ON_TABLES, things.ON_SEATS, things.ON_FLOORS, things.AT_WALLS, things.ON_WALLS)
    for make in makers
}
GROUPS = {*things.GROUPS, *things.FLOOR_GROUPS}


@pytest.fixture(scope="module")
def strewn():
    """Per seed: the room, the camera's places, and the room with more things."""
    found = {}
    for seed in SEEDS:
        scene, rng = furnish(seed), np.random.default_rng(seed)
        places = sample_camera_path(scene, 40, rng)[:, :3, 3]
        found[seed] = scene, places, strew_things(scene, places, np.random.default_rng(7))
    return found


def bounds(primitives):
    """The lowest and highest coordinates (P, 3) of primitives."""
    rows = zip(primitives.kind.tolist(), primitives.half.double().numpy(), primitives.rotation.double().numpy(), strict=True)  # fmt: skip
    reach = np.array([compute_reach(*row) for row in rows])
    return primitives.center.double().numpy() - reach, primitives.center.double().numpy() + reach


def added(scene, more):
    """The primitives of a room that another one lacks."""
    return more.primitives[torch.arange(len(scene.primitives), len(more.primitives))]


def test_there_are_many_kinds():
    assert len(SINGLES) >= 100
    assert len(GROUPS) >= 10
    assert len({make(*_draw(0)).name for make in SINGLES}) >= 100


def _draw(seed):
    rng = np.random.default_rng(seed)
    return rng, Palette(rng)


def check_piece(piece):
    low, high = compute_bounds(piece.solids)
    depth = high[1] - low[1]
    assert piece.half == pytest.approx(((high[0] - low[0]) / 2, depth if piece.mount == "wall" else depth / 2))
    assert piece.height == pytest.approx(high[2] - low[2])
    assert 0.001 < piece.height < 2.4
    assert 0.004 < max(piece.half) < 1.1
    for solid in piece.solids:
        assert solid.kind in (BOX, ELLIPSOID, FRUSTUM)
        assert min(solid.half) > 0
        assert 0 <= solid.taper <= 1
        assert np.allclose(solid.rotation @ solid.rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(solid.rotation) > 0
        assert 0 <= min(solid.material.a + solid.material.b) <= max(solid.material.a + solid.material.b) <= 1
    return low, high


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_is_a_valid_piece_that_stands_on_its_origin_or_hangs_before_its_wall(seed):
    for make in sorted(SINGLES, key=lambda m: m.__name__):
        piece = make(*_draw(seed))
        low, high = check_piece(piece)
        assert low[2] == pytest.approx(0, abs=1e-9), piece.name
        assert (low + high)[0] == pytest.approx(0, abs=1e-9), piece.name
        middle = high[1] if piece.mount == "wall" else (low + high)[1]
        assert middle == pytest.approx(0, abs=1e-9), piece.name
        assert piece.mount == ("wall" if make in things.ON_WALLS else "stand")


@pytest.mark.parametrize("seed", range(5))
def test_the_members_of_a_group_stand_on_the_ground_or_on_one_another(seed):
    for make in sorted(GROUPS, key=lambda m: m.__name__):
        found = [compute_bounds(piece.solids) for piece in make(*_draw(seed))]
        assert min(low[2] for low, _ in found) == pytest.approx(0, abs=1e-9)
        for low, high in found:
            below = [b for a, b in found if a[2] < low[2] and (a[:2] < high[:2]).all() and (b[:2] > low[:2]).all()]
            assert low[2] < 1e-9 or max(top[2] for top in below) >= low[2] - 1e-9, make.__name__


def test_a_seed_gives_one_piece():
    for make in things.ON_TABLES:
        one, again = make(*_draw(4)), make(*_draw(4))
        assert [s.center for s in one.solids] == [s.center for s in again.solids]
        assert [s.material for s in one.solids] == [s.material for s in again.solids]


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_seeds_strew_equal_things_and_the_room_stays(strewn, seed):
    scene, places, more = strewn[seed]
    again, other = (strew_things(furnish(seed), places, np.random.default_rng(n)) for n in (7, 8))
    for field in fields(scene.primitives):
        old, new = getattr(scene.primitives, field.name), getattr(more.primitives, field.name)
        assert torch.equal(new, getattr(again.primitives, field.name))
        assert torch.equal(new[: len(old)], old)
    assert len(other.primitives) != len(more.primitives)
    assert scene.names.items() <= more.names.items()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_thing_has_one_id_and_each_id_one_name(strewn, seed):
    scene, _, more = strewn[seed]
    new = added(scene, more).object_id
    assert set(new.tolist()) == more.names.keys() - scene.names.keys()
    assert len(set(new.tolist())) == int((new.diff() != 0).sum()) + 1 >= 20
    assert int(more.primitives.material.max()) < len(more.materials.family)


@pytest.mark.parametrize("seed", SEEDS)
def test_things_keep_off_the_camera_and_meet_nothing(strewn, seed):
    scene, places, more = strewn[seed]
    low, high = bounds(added(scene, more))
    off = np.maximum(np.maximum(low - places[:, None], places[:, None] - high), 0)
    assert np.linalg.norm(off, axis=2).min() > CLEAR - 1e-5
    old_low, old_high = bounds(scene.primitives)
    shared = np.minimum(high[:, None], old_high) - np.maximum(low[:, None], old_low)
    assert (shared.min(2) < 1e-3).all()
    size = np.array(scene.size)
    assert (low >= np.array([-size[0] / 2, -size[1] / 2, 0]) - 1e-5).all()
    assert (high <= np.array([size[0] / 2, size[1] / 2, size[2]]) + 1e-5).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_things_rest_on_something_or_hang_on_a_wall(strewn, seed):
    scene, _, more = strewn[seed]
    low, high = bounds(more.primitives)
    numbers, wall = more.primitives.object_id.numpy(), np.array(scene.size[:2]) / 2
    for number in set(added(scene, more).object_id.tolist()):
        mine, others = numbers == number, numbers != number
        a, b = low[mine].min(0), high[mine].max(0)
        hangs = (np.abs(np.concatenate((a[:2] + wall, b[:2] - wall))) < 1e-4).any()
        over = others & (low[:, :2] < b[:2]).all(1) & (high[:, :2] > a[:2]).all(1) & (low[:, 2] < a[2])
        assert hangs or a[2] < 1e-4 or high[over, 2].max() >= a[2] - 1e-4, more.names[number]


def test_supports_are_the_tops_of_furniture():
    scene = furnish(SEEDS[0])
    *tops, floor = find_supports(scene)
    assert (floor.name, floor.z) == ("floor", 0.0)
    table = next(s for s in tops if s.name == "coffee table" and s.z > 0.3)
    mine = scene.primitives.object_id == table.number
    assert table.z == pytest.approx(float((scene.primitives.center + scene.primitives.half)[mine, 2].max()), abs=1e-6)


def test_a_near_path_keeps_off_the_furniture_and_looks_at_its_support():
    scene = furnish(SEEDS[0])
    poses, support = sample_near_path(scene, find_supports(scene), 8, np.random.default_rng(3))
    away = np.array([support.x, support.y, support.z]) - poses[:, :3, 3]
    assert (np.linalg.norm(away, axis=1) < 1.4 + np.hypot(support.half_x, support.half_y)).all()
    assert (poses[:, 2, 2] < 0).all()
    assert (poses[:, 2, 3] > support.z).all()
    assert sample_near_path(scene, [], 8, np.random.default_rng(3)) is None


def test_books_of_a_row_and_fruits_in_a_bowl_are_objects():
    scene = furnish(SEEDS[0])
    apart = split_groups(scene)
    for number, name in scene.names.items():
        rows = scene.primitives.object_id == number
        each = {"books": 1, "book": 2, "bowl": 1}.get(name, int(rows.sum()) or 1)
        assert len(apart.primitives.object_id[rows].unique()) == -(-int(rows.sum()) // each)
    assert apart.names.keys() >= set(apart.primitives.object_id.tolist())
    assert len(apart.names) > len(scene.names)


def test_a_strewn_room_renders_its_things_and_depends_on_its_seed():
    rooms = [make_strewn_room(1_000_000, 4, np.random.default_rng(29)) for _ in range(2)]
    (scene, poses), (again, same) = rooms
    assert np.array_equal(poses, same)
    assert torch.equal(scene.primitives.center, again.primitives.center)
    pose = torch.from_numpy(poses[0]).float()
    image, depth, ids = Renderer(scene, torch.device("cpu"))(make_intrinsics(48, 64, 70.0), pose, 48, 64)
    assert image.float().std() > 5
    assert (depth > 0).all()
    assert set(ids.unique().tolist()) <= scene.names.keys()
    assert int(ids.max()) > max(furnish(1_000_000).names)
