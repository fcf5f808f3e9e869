"""Bundle adjustment: what can be worked out on paper, then scenes whose cameras and points are known."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from moonseg3r_core.reconstruction.cut3r.bundle import DEPTH, PIXEL, UNIT, Bundle, adjusted, doubts, strays

FOCAL = 400.0
HUBER = 2.0


def standing(x=0.0, y=0.0, z=0.0, turn=(0.0, 0.0, 0.0)):
    """camera_from_world (4, 4) of a camera at a place, turned by (axis times angle)."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array(turn, float))[0]
    pose[:3, 3] = -pose[:3, :3] @ (x, y, z)
    return pose


def bundle(cameras, points, rays, depths=None, loose=None, camera=None, point=None, units=None):
    """Of every point seen by every camera, camera by camera, where nothing else is said."""
    c, p = len(cameras), len(points)
    camera = np.repeat(np.arange(c), p) if camera is None else np.array(camera)
    point = np.tile(np.arange(p), c) if point is None else np.array(point)
    n = len(camera)
    return Bundle(
        np.stack(cameras),
        np.zeros(c) if units is None else np.array(units, float),
        np.zeros((c, 7), bool) if loose is None else loose,
        np.array(points, float),
        camera,
        point,
        np.array(rays, float).reshape(n, 2),
        np.zeros(n) if depths is None else np.array(depths, float),
        np.full(n, FOCAL),
    )


def seen(b):
    """The points of the sights in their cameras' axes (n, 3)."""
    pose = b.cameras[b.camera]
    return np.einsum("nij,nj->ni", pose[:, :3, :3], b.points[b.point]) + pose[:, :3, 3]


def scene(seed=0, cameras=5, points=40):
    """Cameras on a curve before a cloud, all that they see and the net's depth exact; the first one's pose is fixed."""
    rng = np.random.default_rng(seed)
    places = [standing(0.15 * i, 0.03 * i * i, -0.05 * i, (0.02 * i, -0.05 * i, 0.03 * i)) for i in range(cameras)]
    cloud = rng.uniform([-1, -1, 2], [1, 1, 5], (points, 3))
    b = bundle(places, cloud, np.zeros((cameras * points, 2)), loose=np.ones((cameras, 7), bool))
    b.loose[0, :6] = False
    own = seen(b)
    return replace(b, rays=own[:, :2] / own[:, 2:], depths=own[:, 2])


def shaken(b, seed=1, by=0.03, deep=0.2):
    """The same, its cameras, units and points somewhat off; what was seen stays."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, by, (len(b.cameras), 6)) * b.loose[:, :6]
    cameras = [standing(*step[:3], step[3:]) @ camera for step, camera in zip(steps, b.cameras, strict=True)]
    units = b.units + rng.normal(0, 0.1, len(b.units)) * b.loose[:, 6]
    points = b.points * np.exp(rng.normal(0, deep, (len(b.points), 1)))
    return replace(b, cameras=np.stack(cameras), units=units, points=points)


def noisy(b, seed=2, pixels=1.0, deep=0.2, wholly=0.05):
    """The same, what was seen somewhat off, and a share of it wholly."""
    rng = np.random.default_rng(seed)
    rays = b.rays + rng.normal(0, pixels / FOCAL, b.rays.shape)
    wrong = rng.random(len(rays)) < wholly
    rays[wrong] += rng.choice([-0.1, 0.1], (wrong.sum(), 2))
    return replace(b, rays=rays, depths=b.depths * np.exp(rng.normal(0, deep, len(rays))))


def cost(b):
    """The sum of the robust errors, as the module says it: the plain twin of what is made small."""
    x, y, z = seen(b).T
    place = np.hypot(b.rays[:, 0] - x / z, b.rays[:, 1] - y / z) * FOCAL / PIXEL
    times = np.bincount(b.point)[b.point]
    deep = np.abs(np.log(b.depths) + b.units[b.camera] - np.log(z)) / (DEPTH * np.sqrt(times))
    errors = np.concatenate((place, deep))
    huber = np.where(errors <= HUBER, errors**2 / 2, HUBER * (errors - HUBER / 2))
    return huber.sum() + ((b.units / UNIT)[b.loose[:, 6]] ** 2).sum() / 2


# On paper


def test_a_point_that_one_camera_sees_lies_on_its_ray_at_the_nets_depth_in_its_unit():
    here = [standing()]
    found = adjusted(bundle(here, [[0.2, 0.1, 3]], [[0.5, 0]], depths=[2.0]))
    assert np.allclose(found.points, [[1, 0, 2]], atol=1e-6)
    twice = adjusted(bundle(here, [[0.2, 0.1, 3]], [[0.5, 0]], depths=[2.0], units=[np.log(2)]))
    assert np.allclose(twice.points, [[2, 0, 4]], atol=1e-6)


def test_a_point_that_two_cameras_see_lies_where_their_rays_meet():
    found = adjusted(bundle([standing(), standing(x=1)], [[0.3, 0.2, 1.5]], [[0.5, 0], [-0.5, 0]]))
    assert np.allclose(found.points, [[0.5, 0, 1]], atol=1e-6)


def test_rays_outweigh_a_net_that_errs():
    seen_from = [standing(), standing(x=1)]
    found = adjusted(bundle(seen_from, [[0.3, 0.2, 1.5]], [[0.5, 0], [-0.5, 0]], depths=[1.2, 1.2]))
    assert np.allclose(found.points, [[0.5, 0, 1]], atol=2e-3)


def test_nothing_seen_is_nothing_done():
    nothing = bundle([standing()], np.zeros((0, 3)), np.zeros((0, 2)))
    assert adjusted(nothing) is nothing
    assert not len(strays(nothing))


def test_a_point_is_as_doubtful_as_the_net_however_often_it_is_seen_from_one_place():
    """A net errs alike in all of them."""
    ahead = [[0.0, 0, 2]]
    for views in (1, 2, 7):
        b = bundle([standing()] * views, ahead, np.zeros((views, 2)), depths=[2.0] * views)
        assert doubts(b) == pytest.approx(DEPTH, rel=1e-6)


def test_seen_from_both_sides_it_is_as_doubtful_as_the_baseline_says():
    b = bundle([standing(x=-0.5), standing(x=0.5)], [[0.0, 0, 2]], [[0.25, 0], [-0.25, 0]])
    assert doubts(b) == pytest.approx(np.sqrt(2) * 2 * PIXEL / FOCAL, rel=1e-6)


def test_a_sight_strays_beyond_four_pixels_or_behind_its_camera():
    b = bundle([standing()], [[0.0, 0, 2], [0, 0, 2], [0, 0, -2]], [[3.9 / FOCAL, 0], [0, 4.1 / FOCAL], [0, 0]])
    assert strays(b).tolist() == [False, True, True]


# Whole scenes


@pytest.mark.parametrize("seed", range(3))
def test_cameras_units_and_points_that_are_off_are_found_again(seed):
    true = scene(seed)
    found = adjusted(shaken(true, seed + 10), steps=12)
    assert np.allclose(found.cameras, true.cameras, atol=1e-6)
    assert np.allclose(found.points, true.points, atol=1e-6)
    assert np.allclose(found.units, 0, atol=1e-6)


def test_without_depth_all_is_found_but_the_unit():
    true = scene()
    found = adjusted(replace(shaken(true), depths=np.zeros(len(true.rays))), steps=20)
    unit = found.points[0, 2] / true.points[0, 2]
    assert np.allclose(found.points, true.points * unit, atol=1e-5)
    assert np.allclose(found.cameras[:, :3, 3], true.cameras[:, :3, 3] * unit, atol=1e-5)
    assert np.allclose(found.cameras[:, :3, :3], true.cameras[:, :3, :3], atol=1e-5)


def test_depth_alone_holds_the_unit():
    true = scene()
    larger = true.cameras.copy()
    larger[:, :3, 3] *= 1.3
    found = adjusted(replace(true, cameras=larger, points=true.points * 1.3), steps=12)
    assert np.allclose(found.points, true.points, atol=1e-5)
    assert np.allclose(found.cameras, true.cameras, atol=1e-5)


def test_a_camera_whose_net_sees_everything_nearer_has_a_unit_of_its_own():
    true = scene(cameras=6)
    near = np.where(true.camera == 3, 0.8, 1.0)
    found = adjusted(replace(true, depths=true.depths * near), steps=12)
    others = np.delete(found.units, 3)
    assert found.units[3] - others.mean() > 0.5 * np.log(1.25)
    assert np.ptp(others) < 0.01


def test_what_is_fixed_stays():
    true = scene()
    loose = np.zeros((5, 7), bool)
    loose[1, :6], loose[2, 6] = True, True
    before = replace(noisy(true), cameras=shaken(true).cameras, loose=loose)
    after = adjusted(before)
    still = [0, 2, 3, 4]
    assert np.array_equal(after.cameras[still], before.cameras[still])
    assert np.array_equal(np.delete(after.units, 2), np.delete(before.units, 2))
    assert not np.allclose(after.cameras[1], before.cameras[1])
    assert after.units[2] != before.units[2]


def test_a_turn_alone_may_change():
    true = scene()
    loose = np.zeros((5, 7), bool)
    loose[3, :3] = True
    turned = true.cameras.copy()
    turned[3] = standing(turn=(0.02, 0.03, -0.01)) @ turned[3]
    found = adjusted(replace(true, cameras=turned, loose=loose), steps=12)
    assert np.allclose(found.cameras, true.cameras, atol=1e-6)


def test_the_wholly_wrong_are_told_from_the_rest_and_do_not_bend_it():
    true = scene(cameras=6)
    wrong = np.array([10, 85, 170, 230])
    rays = true.rays.copy()
    rays[wrong] += 0.1  # 40 pixels
    found = adjusted(replace(shaken(true), rays=rays), steps=12)
    assert strays(found)[wrong].all()
    assert np.linalg.norm(found.cameras[:, :3, 3] - true.cameras[:, :3, 3], axis=1).max() < 0.05
    held = np.setdiff1d(np.arange(40), true.point[wrong])
    assert not strays(found)[np.isin(true.point, held)].any()


@pytest.mark.parametrize("seed", range(3))
def test_more_steps_never_cost_more(seed):
    before = shaken(noisy(scene(seed, 4, 25), seed), seed)
    costs = [cost(before), *(cost(adjusted(before, steps)) for steps in range(1, 9))]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(costs))
    assert costs[-1] < 0.5 * costs[0]


def test_where_it_ends_no_small_change_of_anything_loose_costs_less():
    """The slope of the plain cost, by differences, beside what it was at first: the derivatives are right."""
    before = after = shaken(noisy(scene(5, 3, 12), pixels=0.5, wholly=0))
    for _ in range(4):
        after = adjusted(after)

    def slopes(b):
        changes = [(row, axis) for row, axis in zip(*np.nonzero(b.loose), strict=True)]
        by_camera = [(cost(changed(b, *c, 1e-5)) - cost(changed(b, *c, -1e-5))) / 2e-5 for c in changes]
        steps = 1e-5 * np.eye(b.points.size).reshape(-1, *b.points.shape)
        by_point = [
            (cost(replace(b, points=b.points + s)) - cost(replace(b, points=b.points - s))) / 2e-5 for s in steps
        ]
        return np.abs(by_camera).max(), np.abs(by_point).max()

    for first, last in zip(slopes(before), slopes(after), strict=True):
        assert last < 1e-3 * first


def changed(b, row, axis, by):
    """The same with one number of a camera's seven another."""
    change = np.eye(7)[axis] * by
    cameras, units = b.cameras.copy(), b.units.copy()
    cameras[row] = standing(turn=change[:3]) @ cameras[row]
    cameras[row, :3, 3] += change[3:6]
    units[row] += change[6]
    return replace(b, cameras=cameras, units=units)


def test_a_world_moved_with_its_cameras_comes_out_moved():
    true = scene()
    away = standing(3, -1, 2, (0.4, 1.0, -0.3))
    begun = shaken(true)
    moved = replace(
        begun, cameras=begun.cameras @ np.linalg.inv(away), points=begun.points @ away[:3, :3].T + away[:3, 3]
    )
    here, there = adjusted(begun, steps=12), adjusted(moved, steps=12)
    assert np.allclose(there.points, here.points @ away[:3, :3].T + away[:3, 3], atol=1e-6)
    assert np.allclose(there.cameras @ away, here.cameras, atol=1e-6)


def test_what_it_is_given_is_left_as_it_was():
    before = shaken(scene())
    copy = {name: value.copy() for name, value in vars(before).items()}
    adjusted(before)
    assert all(np.array_equal(value, copy[name]) for name, value in vars(before).items())


def test_a_depth_that_is_not_known_weighs_nothing():
    true = shaken(scene())
    unknown = np.zeros(len(true.rays))
    one, other = adjusted(replace(true, depths=unknown)), adjusted(replace(true, depths=unknown * np.nan))
    assert np.array_equal(one.points, other.points)
