"""Loops: a ring of keyframes that has drifted in place, turn and scale, and whose last one sees the place of the first."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moonseg3r_core.reconstruction.odometry.features import XFEAT_SIZE, Features
from moonseg3r_core.reconstruction.odometry.local_map import NO_LANDMARK, Keyframe, LocalMap
from moonseg3r_core.reconstruction.odometry.loop_closure import (
    Loop,
    LoopCloser,
    NoLoops,
    can_be_drift,
    choose_pairs,
    compute_weighted_median,
    list_places,
    measure_scale,
)
from moonseg3r_core.reconstruction.odometry.tracker import match_camera

FOCAL, VIEWS = 300.0, 24


def make_camera(angle):
    """camera_from_world (4, 4) of a camera that stands 1 m off the middle of a round room and looks outwards."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("y", angle, degrees=True).as_matrix()
    pose[:3, 3] = pose[:3, 2]
    return np.linalg.inv(pose)


def make_ring(drift=True, seed=0):
    """A map of the room's wall by keyframes at every 15 degrees, and one more at the first one's place, with its own landmarks.

    With `drift` all turns are 1 % too small and the scale grows by 1 % from one keyframe to the next.
    """
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, 360, 2500)
    wall = np.column_stack((4 * np.sin(np.radians(turn)), rng.uniform(-1.5, 1.5, 2500), 4 * np.cos(np.radians(turn))))
    described = rng.standard_normal((2500, XFEAT_SIZE))
    described = (described / np.linalg.norm(described, axis=1, keepdims=True)).astype(np.float16)
    map_, true = LocalMap(), []
    rows = np.full((2, 2500), NO_LANDMARK)
    for n in range(VIEWS + 1):
        camera, scale = make_camera(15.0 * n), 1.01**n if drift else 1.0
        seen = wall @ camera[:3, :3].T + camera[:3, 3]
        rays = seen[:, :2] / seen[:, 2:]
        visible = np.flatnonzero((seen[:, 2] > 0.1) & (np.abs(rays) < 0.6).all(1))
        own = rows[n // VIEWS]  # the last keyframe knows nothing of the first ones
        new = visible[own[visible] == NO_LANDMARK]
        own[new] = len(map_.points) + np.arange(len(new))
        guessed = make_camera(15.0 * n * 0.99) if drift else camera
        guessed[:3, 3] *= scale
        points = (seen[new] * scale - guessed[:3, 3]) @ guessed[:3, :3]
        map_.points = np.concatenate((map_.points, points))
        map_.sigmas = np.concatenate((map_.sigmas, np.full(len(new), 0.02)))
        noisy = rays[visible] + rng.normal(0, 0.3 / FOCAL, (len(visible), 2))
        features = Features(noisy, described[visible], seen[visible, 2] * scale, FOCAL)
        map_.keyframes.append(Keyframe(guessed, features, own[visible].copy(), serial=n + 1))
        true.append(np.linalg.inv(camera))
    return map_, np.stack(true)


def measure_gap(map_):
    """How far the last keyframe is from the first, metres and log scale; they stand at one place."""
    first, last = map_.keyframes[0], map_.keyframes[-1]
    return np.linalg.norm((first.camera @ last.pose)[:3, 3]), abs(np.log(last.scale / first.scale * 1.01**VIEWS))


@pytest.fixture(scope="module")
def closed():
    map_, _ = make_ring()
    assert LoopCloser(match_camera)(map_)
    return map_


def test_a_loop_takes_away_the_drift(closed):
    before, _ = make_ring()
    assert measure_gap(before)[0] > 0.25
    shift, log_scale = measure_gap(closed)
    assert shift < 0.01
    assert log_scale < 0.02
    radii = [np.linalg.norm(k.pose[:3, 3]) for k in closed.keyframes]
    assert np.std(radii) < np.std([np.linalg.norm(k.pose[:3, 3]) for k in before.keyframes])


def test_both_sides_share_their_landmarks(closed):
    first, last = closed.keyframes[0], closed.keyframes[-1]
    assert len(np.intersect1d(first.landmarks[first.observed], last.landmarks[last.observed])) > 60
    for keyframe in closed.keyframes:
        own = keyframe.landmarks[keyframe.observed]
        assert len(np.unique(own)) == len(own)


def test_landmarks_lie_on_the_rays_of_their_keyframes(closed):
    for keyframe in closed.keyframes:
        seen = closed.points[keyframe.landmarks] @ keyframe.camera[:3, :3].T + keyframe.camera[:3, 3]
        errors = FOCAL * np.linalg.norm(seen[:, :2] / seen[:, 2:] - keyframe.features.rays, axis=1)
        assert np.median(errors[keyframe.observed]) < 2.0


def test_a_keyframe_whose_neighbours_it_knows_closes_nothing():
    map_, _ = make_ring(drift=False)
    map_.keyframes.pop()  # the one that is back again
    assert not LoopCloser(match_camera)(map_)
    assert not NoLoops()(map_)


def test_another_place_that_looks_alike_is_refused():
    """The last keyframe has the descriptors of the first, at other places of its image."""
    map_, _ = make_ring()
    last = map_.keyframes[-1]
    mixed = last.features.rays[np.random.default_rng(0).permutation(len(last.features.rays))]
    map_.keyframes[-1] = dataclasses.replace(last, features=dataclasses.replace(last.features, rays=mixed))
    before = [k.camera for k in map_.keyframes]
    assert list_places(map_), "it looks alike"
    assert not LoopCloser(match_camera)(map_)
    assert all(np.array_equal(a, k.camera) for a, k in zip(before, map_.keyframes, strict=True))


def test_scale_by_hand():
    sigmas = np.full((3, 2), 0.1)
    assert measure_scale(np.array([0.1, 0.11, 0.12]), sigmas) == pytest.approx(0.11)
    assert measure_scale(np.array([0.1, 0.4, 0.9]), sigmas) is None, "the depths disagree"
    assert measure_scale(np.array([1.5, 1.5, 1.5]), sigmas) is None, "four times and more is no drift"
    assert compute_weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 5.0, 1.0])) == 1.0


def test_pairs_are_of_different_landmarks_and_none_is_on_both_sides():
    pairs = np.array([[1, 9], [1, 8], [2, 8], [3, 3], [4, 7], [7, 5]])
    assert choose_pairs(pairs).tolist() == [[7, 5], [2, 8], [1, 9]]


@pytest.mark.parametrize(("degrees", "possible"), [(0, True), (10, True), (90, False)])
def test_a_place_that_is_seen_from_another_direction_is_another_place(degrees, possible):
    ring, _ = make_ring(drift=False)
    measured = ring.keyframes[0].camera @ ring.keyframes[-1].pose
    measured[:3, :3] = measured[:3, :3] @ Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    loop = Loop(VIEWS, 0, measured, 100, np.zeros((0, 2), int))
    assert can_be_drift(ring, loop) == possible
