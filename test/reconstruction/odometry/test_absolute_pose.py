"""A camera's pose from points of the world, some of them of uncertain depth, some of them wrong."""

import cv2
import numpy as np
import pytest

from moonseg3r_core.reconstruction.odometry.absolute_pose import Sightings, find_pose, refine_pose

FOCAL = 400.0


def look(count=80, seed=0):
    """A camera, and exact sightings of points that a camera at the origin has placed."""
    rng = np.random.default_rng(seed)
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = cv2.Rodrigues(np.array([0.1, -0.2, 0.05]))[0], (0.3, -0.1, 0.2)
    world = rng.uniform([-1, -1, 1.5], [1, 1, 4], (count, 3))
    own = world @ camera[:3, :3].T + camera[:3, 3]
    return camera, Sightings(world, own[:, :2] / own[:, 2:], np.zeros((count, 3)), np.zeros(count))


def test_a_pose_is_found_though_a_third_of_the_matches_are_wrong():
    camera, seen = look(60)
    seen.points[:20] += np.random.default_rng(1).uniform(0.5, 1, (20, 3))
    found, inliers = refine_pose(find_pose(seen, FOCAL), seen, FOCAL)
    assert np.allclose(found, camera, atol=1e-3)
    assert inliers[20:].all()


def test_too_few_matches_give_no_pose_nor_do_many_wrong_ones():
    _, seen = look()
    assert find_pose(seen.select(np.arange(0)), FOCAL) is None
    assert find_pose(seen.select(np.arange(11)), FOCAL) is None
    assert find_pose(seen.select(np.arange(12)), FOCAL) is not None
    wrong = np.random.default_rng(0).permutation(seen.rays)
    assert find_pose(Sightings(seen.points, wrong, seen.centres, seen.sigmas), FOCAL * 10) is None


@pytest.mark.parametrize(
    "points", [np.ones((20, 3)), np.full((20, 3), np.nan), np.arange(20.0)[:, None].repeat(3, axis=1)]
)
def test_points_that_tell_nothing_give_no_pose(points):
    rays = np.random.default_rng(0).normal(0, 0.3, (20, 2))
    assert find_pose(Sightings(points, rays, np.zeros((20, 3)), np.zeros(20)), FOCAL) is None


def test_a_pose_near_the_right_one_becomes_it():
    camera, seen = look()
    off = camera.copy()
    off[:3, 3] += (0.005, -0.005, 0.005)
    found, inliers = refine_pose(off, seen, FOCAL)
    assert np.allclose(found, camera, atol=1e-6)
    assert inliers.all()


def test_points_of_uncertain_depth_spoil_no_pose_that_well_known_ones_tell():
    """Half of the depths are a fifth too large: known to be uncertain they pull less than unknown to be so."""
    camera, seen = look()
    seen.points[:40] *= 1.2
    off = {}
    for sigma in (0.0, 0.2):
        seen.sigmas[:40] = sigma
        found, _ = refine_pose(camera, seen, FOCAL / 4)  # coarse pixels: all are inliers
        off[sigma] = np.linalg.norm(found[:3, 3] - camera[:3, 3])
    assert off[0.2] < 0.5 * off[0.0]


def test_points_of_unknown_depth_tell_the_rotation_and_the_direction():
    camera, seen = look()
    uncertain = Sightings(
        seen.points * np.exp(np.random.default_rng(2).normal(0, 0.2, (80, 1))),
        seen.rays,
        seen.centres,
        np.full(80, 0.2),
    )
    found, _ = refine_pose(camera, uncertain, FOCAL)
    assert np.allclose(found[:3, :3], camera[:3, :3], atol=0.02)
    direction = found[:3, 3] / np.linalg.norm(found[:3, 3])
    assert direction @ camera[:3, 3] / np.linalg.norm(camera[:3, 3]) > 0.98


def test_with_too_few_inliers_a_pose_stays():
    camera, seen = look()
    few = Sightings(seen.points, seen.rays + 1, seen.centres, seen.sigmas)
    found, inliers = refine_pose(camera, few, FOCAL)
    assert np.array_equal(found, camera)
    assert not inliers.any()
