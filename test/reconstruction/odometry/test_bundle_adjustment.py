"""Bundle adjustment: cases that can be computed on paper, then scenes with known cameras and points."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from opencv_cameras import make_camera

from moonseg3r_core.reconstruction.odometry.bundle_adjustment import (
    SIGMA_LOG_DEPTH,
    SIGMA_PX,
    Bundle,
    compute_relative_sigma,
    find_outliers,
    optimize,
    optimize_robust,
)

FOCAL = 400.0
HUBER = 2.0


def bundle(cameras, points, rays, depths=None, free=None, camera=None, point=None):
    """A bundle in which every camera observes every point, unless indices are given."""
    c, p = len(cameras), len(points)
    camera = np.repeat(np.arange(c), p) if camera is None else np.array(camera)
    point = np.tile(np.arange(p), c) if point is None else np.array(point)
    n = len(camera)
    return Bundle(
        np.stack(cameras),
        np.zeros(c, bool) if free is None else free,
        np.array(points, float),
        camera,
        point,
        np.array(rays, float).reshape(n, 2),
        np.zeros(n) if depths is None else np.array(depths, float),
        np.full(n, FOCAL),
    )


def seen(b):
    """The points of the observations in camera axes (n, 3)."""
    pose = b.cameras[b.camera_index]
    return np.einsum("nij,nj->ni", pose[:, :3, :3], b.points[b.point_index]) + pose[:, :3, 3]


def scene(seed=0, cameras=5, points=40):
    """Cameras on a curve in front of a cloud, with exact rays and depths; the first camera is fixed."""
    rng = np.random.default_rng(seed)
    places = [make_camera(0.15 * i, 0.03 * i * i, -0.05 * i, (0.02 * i, -0.05 * i, 0.03 * i)) for i in range(cameras)]
    cloud = rng.uniform([-1, -1, 2], [1, 1, 5], (points, 3))
    b = bundle(places, cloud, np.zeros((cameras * points, 2)), free=np.arange(cameras) > 0)
    own = seen(b)
    return replace(b, rays=own[:, :2] / own[:, 2:], depths=own[:, 2])


def perturb(b, seed=1, by=0.03, deep=0.2):
    """Perturb cameras and points; the observations stay."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, by, (len(b.cameras), 6)) * b.free[:, None]
    cameras = [make_camera(*step[:3], step[3:]) @ camera for step, camera in zip(steps, b.cameras, strict=True)]
    points = b.points * np.exp(rng.normal(0, deep, (len(b.points), 1)))
    return replace(b, cameras=np.stack(cameras), points=points)


def add_noise(b, seed=2, pixels=1.0, deep=0.2, share=0.05):
    """Add noise to the observations, and outliers to a share of them."""
    rng = np.random.default_rng(seed)
    rays = b.rays + rng.normal(0, pixels / FOCAL, b.rays.shape)
    wrong = rng.random(len(rays)) < share
    rays[wrong] += rng.choice([-0.1, 0.1], (wrong.sum(), 2))
    return replace(b, rays=rays, depths=b.depths * np.exp(rng.normal(0, deep, len(rays))))


def cost(b):
    """The sum of Huber costs by its definition: the plain twin of what is minimized."""
    x, y, z = seen(b).T
    place = np.hypot(b.rays[:, 0] - x / z, b.rays[:, 1] - y / z) * FOCAL / SIGMA_PX
    times = np.bincount(b.point_index)[b.point_index]
    deep = np.abs(np.log(b.depths) - np.log(z)) / (SIGMA_LOG_DEPTH * np.sqrt(times))
    errors = np.concatenate((place, deep))
    huber = np.where(errors <= HUBER, errors**2 / 2, HUBER * (errors - HUBER / 2))
    return huber.sum()


def test_a_point_that_one_camera_sees_lies_on_its_ray_at_the_nets_depth():
    found = optimize(bundle([make_camera()], [[0.2, 0.1, 3]], [[0.5, 0]], depths=[2.0]))
    assert np.allclose(found.points, [[1, 0, 2]], atol=1e-6)


def test_a_point_that_two_cameras_see_lies_where_their_rays_meet():
    found = optimize(bundle([make_camera(), make_camera(x=1)], [[0.3, 0.2, 1.5]], [[0.5, 0], [-0.5, 0]]))
    assert np.allclose(found.points, [[0.5, 0, 1]], atol=1e-6)


def test_rays_outweigh_a_wrong_depth():
    seen_from = [make_camera(), make_camera(x=1)]
    found = optimize(bundle(seen_from, [[0.3, 0.2, 1.5]], [[0.5, 0], [-0.5, 0]], depths=[1.2, 1.2]))
    assert np.allclose(found.points, [[0.5, 0, 1]], atol=2e-3)


def test_a_bundle_without_observations_is_returned_as_it_is():
    nothing = bundle([make_camera()], np.zeros((0, 3)), np.zeros((0, 2)))
    assert optimize(nothing) is nothing
    assert not len(find_outliers(nothing))


def test_views_from_one_place_leave_a_point_as_uncertain_as_one_view():
    """A net errs alike in all of them."""
    ahead = [[0.0, 0, 2]]
    for views in (1, 2, 7):
        b = bundle([make_camera()] * views, ahead, np.zeros((views, 2)), depths=[2.0] * views)
        assert compute_relative_sigma(b) == pytest.approx(SIGMA_LOG_DEPTH, rel=1e-6)


def test_the_uncertainty_of_two_views_follows_from_their_baseline():
    b = bundle([make_camera(x=-0.5), make_camera(x=0.5)], [[0.0, 0, 2]], [[0.25, 0], [-0.25, 0]])
    assert compute_relative_sigma(b) == pytest.approx(np.sqrt(2) * 2 * SIGMA_PX / FOCAL, rel=1e-6)


def test_an_observation_is_an_outlier_beyond_four_pixels_or_behind_its_camera():
    b = bundle([make_camera()], [[0.0, 0, 2], [0, 0, 2], [0, 0, -2]], [[3.9 / FOCAL, 0], [0, 4.1 / FOCAL], [0, 0]])
    assert find_outliers(b).tolist() == [False, True, True]


@pytest.mark.parametrize("seed", range(3))
def test_cameras_and_points_that_are_off_are_found_again(seed):
    true = scene(seed)
    found = optimize(perturb(true, seed + 10), steps=12)
    assert np.allclose(found.cameras, true.cameras, atol=1e-6)
    assert np.allclose(found.points, true.points, atol=1e-6)


def test_without_depth_all_is_found_but_the_unit():
    true = scene()
    found = optimize(replace(perturb(true), depths=np.zeros(len(true.rays))), steps=20)
    unit = found.points[0, 2] / true.points[0, 2]
    assert np.allclose(found.points, true.points * unit, atol=1e-5)
    assert np.allclose(found.cameras[:, :3, 3], true.cameras[:, :3, 3] * unit, atol=1e-5)
    assert np.allclose(found.cameras[:, :3, :3], true.cameras[:, :3, :3], atol=1e-5)


def test_depth_alone_holds_the_unit():
    true = scene()
    larger = true.cameras.copy()
    larger[:, :3, 3] *= 1.3
    found = optimize(replace(true, cameras=larger, points=true.points * 1.3), steps=12)
    assert np.allclose(found.points, true.points, atol=1e-5)
    assert np.allclose(found.cameras, true.cameras, atol=1e-5)


def test_fixed_cameras_stay():
    true = scene()
    before = replace(add_noise(true), cameras=perturb(true).cameras, free=np.arange(5) == 1)
    after = optimize(before)
    still = [0, 2, 3, 4]
    assert np.array_equal(after.cameras[still], before.cameras[still])
    assert not np.allclose(after.cameras[1], before.cameras[1])


def test_outliers_are_found_and_do_not_bend_the_rest():
    true = scene(cameras=6)
    wrong = np.array([10, 85, 170, 230])
    rays = true.rays.copy()
    rays[wrong] += 0.1  # 40 pixels
    found = optimize(replace(perturb(true), rays=rays), steps=12)
    assert find_outliers(found)[wrong].all()
    assert np.linalg.norm(found.cameras[:, :3, 3] - true.cameras[:, :3, 3], axis=1).max() < 0.05
    held = np.setdiff1d(np.arange(40), true.point_index[wrong])
    assert not find_outliers(found)[np.isin(true.point_index, held)].any()


def swap(b, camera, one, other):
    """Swap the observations of two points in one camera."""
    rays, rows = (
        b.rays.copy(),
        [np.flatnonzero((b.camera_index == camera) & (b.point_index == p))[0] for p in (one, other)],
    )
    rays[rows] = rays[rows[::-1]]
    return replace(b, rays=rays), rows


def test_two_swapped_matches_are_removed_and_then_all_is_right():
    true = scene(cameras=6)
    wrong, rows = swap(perturb(true), 4, 7, 8)
    found, outliers = optimize_robust(wrong)
    assert np.flatnonzero(outliers).tolist() == rows
    assert len(found.camera_index) == len(true.camera_index) - 2
    assert np.allclose(found.cameras, true.cameras, atol=1e-4)
    assert np.allclose(found.points, true.points, atol=1e-3)
    assert not np.allclose(optimize(wrong).cameras, true.cameras, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_more_steps_never_cost_more(seed):
    before = perturb(add_noise(scene(seed, 4, 25), seed), seed)
    costs = [cost(before), *(cost(optimize(before, steps)) for steps in range(1, 9))]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(costs))
    assert costs[-1] < 0.5 * costs[0]


def test_where_it_ends_no_small_change_of_anything_free_costs_less():
    """The slope of the plain cost, by differences, beside what it was at first: the derivatives are right."""
    before = after = perturb(add_noise(scene(5, 3, 12), pixels=0.5, share=0))
    for _ in range(4):
        after = optimize(after)

    def slopes(b):
        changes = [(row, axis) for row in np.flatnonzero(b.free) for axis in range(6)]
        by_camera = [(cost(change_camera(b, *c, 1e-5)) - cost(change_camera(b, *c, -1e-5))) / 2e-5 for c in changes]
        steps = 1e-5 * np.eye(b.points.size).reshape(-1, *b.points.shape)
        by_point = [
            (cost(replace(b, points=b.points + s)) - cost(replace(b, points=b.points - s))) / 2e-5 for s in steps
        ]
        return np.abs(by_camera).max(), np.abs(by_point).max()

    for first, last in zip(slopes(before), slopes(after), strict=True):
        assert last < 1e-3 * first


def change_camera(b, row, axis, by):
    """Change one of a camera's six parameters."""
    change = np.eye(6)[axis] * by
    cameras = b.cameras.copy()
    cameras[row] = make_camera(turn=change[:3]) @ cameras[row]
    cameras[row, :3, 3] += change[3:]
    return replace(b, cameras=cameras)


def test_a_world_moved_with_its_cameras_comes_out_moved():
    true = scene()
    away = make_camera(3, -1, 2, (0.4, 1.0, -0.3))
    begun = perturb(true)
    moved = replace(
        begun, cameras=begun.cameras @ np.linalg.inv(away), points=begun.points @ away[:3, :3].T + away[:3, 3]
    )
    here, there = optimize(begun, steps=12), optimize(moved, steps=12)
    assert np.allclose(there.points, here.points @ away[:3, :3].T + away[:3, 3], atol=1e-6)
    assert np.allclose(there.cameras @ away, here.cameras, atol=1e-6)
