"""The local map: a few keyframes of a cloud whose points are known by their numbers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from opencv_cameras import make_camera

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.odometry import local_map
from moonseg3r_core.reconstruction.odometry.absolute_pose import Sightings, find_pose, refine_pose
from moonseg3r_core.reconstruction.odometry.bundle_adjustment import SIGMA_LOG_DEPTH
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK
from moonseg3r_core.reconstruction.odometry.features import SIFT_SIZE, Features
from moonseg3r_core.reconstruction.odometry.local_map import Keyframe, LocalMap

FOCAL = 400.0
CLOUD = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 5], (60, 3))


PATH = [make_camera(0.2 * i, 0.05 * i, -0.03 * i, (0, -0.05 * i, 0.02 * i)) for i in range(24)]


class Walk:
    """A map, and the landmark of every point of the cloud; matches are perfect."""

    def __init__(self, cloud=CLOUD):
        self.cloud, self.map, self.known, self.seen = cloud, LocalMap(), {}, []

    def look(self, camera, numbers=None, off=None, net=1.0, spoil=lambda marks: marks):
        """Add a keyframe from `camera`, whose estimate is `off`, of points by their numbers."""
        numbers = np.arange(len(self.cloud)) if numbers is None else np.array(numbers, int)
        features = self.seen_from(camera, numbers, net)
        marks = spoil(np.array([self.known.get(n, NO_LANDMARK) for n in numbers.tolist()], int))
        kept = self.map.add_keyframe(Keyframe(camera if off is None else off @ camera, features, marks))
        self.relearn()
        return kept

    def seen_from(self, camera, numbers=slice(None), net=1.0):
        """Features of points by their numbers."""
        own = self.cloud[numbers] @ camera[:3, :3].T + camera[:3, 3]
        what = np.zeros((len(own), SIFT_SIZE), np.float16)
        what[:, 0] = np.arange(len(self.cloud))[numbers]
        return Features(own[:, :2] / own[:, 2:], what, own[:, 2] * net, FOCAL)

    def relearn(self):
        """Update the landmarks by number from the newest keyframes."""
        self.known = {
            int(n): int(mark)
            for view in self.map.keyframes
            for n, mark in zip(view.features.descriptors[:, 0], view.landmarks, strict=True)
            if mark != NO_LANDMARK
        }


def errors(view, points):
    """Reprojection errors of its landmarks, pixels."""
    held = view.landmarks != NO_LANDMARK
    own = points[view.landmarks[held]] @ view.camera[:3, :3].T + view.camera[:3, 3]
    return np.linalg.norm(own[:, :2] / own[:, 2:] - view.features.rays[held], axis=1) * FOCAL


def test_the_first_keyframes_landmarks_are_new_and_at_the_nets_depth():
    walk = Walk()
    kept = walk.look(PATH[0])
    assert kept.landmarks.tolist() == list(range(60))
    assert np.allclose(walk.map.points, CLOUD)
    assert walk.map.sigmas.tolist() == [SIGMA_LOG_DEPTH] * 60
    assert np.allclose(walk.map.compute_depths(make_camera(z=-1), np.array([3, 5])), CLOUD[[3, 5], 2] + 1)


def test_new_landmarks_are_laid_by_the_views_own_pose():
    features = Features(np.array([[0.5, 0.0]]), np.zeros((1, SIFT_SIZE), np.float16), np.array([2.0]), FOCAL)
    map = LocalMap()
    kept = map.add_keyframe(Keyframe(make_camera(x=3), features, np.array([NO_LANDMARK])))
    assert np.allclose(map.points, [[4, 0, 2]])
    assert np.allclose(kept.pose[:3, 3], [3, 0, 0])


def test_a_view_of_nothing_is_kept():
    walk = Walk()
    assert walk.look(PATH[0], []).landmarks.shape == (0,)
    assert walk.look(PATH[1]).landmarks.tolist() == list(range(60))
    assert walk.look(PATH[2], []).landmarks.shape == (0,)
    assert len(walk.map.keyframes) == 3


def test_a_view_whose_pose_is_off_is_put_right():
    walk = Walk()
    walk.look(PATH[0])
    kept = walk.look(PATH[1], off=make_camera(0.03, -0.02, 0.04, (0.02, 0.01, -0.01)))
    assert np.allclose(kept.camera, PATH[1], atol=1e-3)
    assert np.array_equal(walk.map.keyframes[0].camera, np.eye(4))
    assert len(walk.map.points) == 60


def test_points_that_are_new_go_with_the_view_that_saw_them_alone():
    walk = Walk()
    walk.look(PATH[0], range(40))
    kept = walk.look(PATH[1], off=make_camera(0.1, 0, 0.05, (0, 0.03, 0)))
    assert (kept.landmarks == np.arange(60)).all()
    assert np.allclose(walk.map.points[40:], CLOUD[40:], atol=5e-3)


def test_with_every_view_points_are_better_known_than_by_the_nets_depth():
    walk, rng = Walk(), np.random.default_rng(1)
    off, doubt = [], []
    for camera in PATH[:6]:
        walk.look(camera, net=np.exp(rng.normal(0, 0.2, 60)))
        off.append(np.abs(np.log(walk.map.points[:, 2] / CLOUD[:, 2])).mean())
        doubt.append(walk.map.sigmas.mean())
    assert off[0] > 0.1
    assert off[-1] < 0.05
    assert all(later < earlier for earlier, later in pairwise(doubt))


def swapped(marks):
    """Two wrong matches."""
    marks[[7, 8]] = marks[[8, 7]]
    return marks


def test_a_wrong_match_is_removed_and_the_right_ones_are_not():
    walk = Walk()
    for n, camera in enumerate(PATH[:5]):
        kept = walk.look(camera, spoil=swapped if n == 4 else lambda marks: marks)
    assert np.flatnonzero(kept.landmarks == NO_LANDMARK).tolist() == [7, 8]
    assert all((view.landmarks == np.arange(60)).all() for view in walk.map.keyframes[:4])
    walk.look(PATH[5])
    assert (walk.map.keyframes[-1].landmarks[[7, 8]] == [7, 8]).all()
    assert np.allclose(walk.map.points, CLOUD, atol=0.05)


def test_duplicates_are_merged_in_every_keyframe():
    walk = Walk()
    first = walk.look(PATH[0])
    second = walk.look(PATH[1], spoil=lambda marks: np.where(np.isin(marks, [3, 4]), NO_LANDMARK, marks))
    again = int(second.landmarks[3]), int(second.landmarks[4])
    third = Keyframe(PATH[2], walk.seen_from(PATH[2]), first.landmarks, np.array([[again[0], 3], [again[1], 4]]))
    walk.map.add_keyframe(third)
    assert [view.landmarks[[3, 4]].tolist() for view in walk.map.keyframes] == [[3, 4]] * 3


def test_a_keyframe_of_both_duplicates_keeps_one_observation():
    walk = Walk()
    first = walk.look(PATH[0])
    walk.map.add_keyframe(Keyframe(PATH[1], walk.seen_from(PATH[1]), first.landmarks, np.array([[5, 6]])))
    held = walk.map.keyframes[0].landmarks
    assert 5 not in held
    assert (held == 6).sum() == 1


def test_views_that_share_nothing_with_the_newest_stay_as_they_are():
    walk = Walk()
    for n in range(3):
        walk.look(PATH[n], range(30), off=make_camera(0.01 * n))
    points, views = walk.map.points.copy(), list(walk.map.keyframes)
    walk.look(PATH[10], range(30, 60))
    assert np.array_equal(walk.map.points[:30], points)
    assert all(one is other for one, other in zip(walk.map.keyframes, views, strict=False))


def test_of_many_keyframes_the_oldest_are_fixed():
    """More than are adjusted at a time: ten that look at two halves, the first of them at the one alone."""
    walk = Walk()
    for n in range(10):
        walk.look(PATH[n], range(30) if n < 2 else range(60))
    held = walk.map.keyframes[:2]
    walk.look(PATH[10], off=make_camera(0.02, 0.01, 0))
    assert all(np.array_equal(a.camera, b.camera) for a, b in zip(walk.map.keyframes, held, strict=False))
    assert np.allclose(walk.map.keyframes[-1].camera, PATH[10], atol=1e-3)


def units_along(seed, views, far):
    """Estimated over true depth of each keyframe of a long walk (views,). Observations have a pixel of noise, poses begin by
    PnP, and the net's depth is 30 % too large in the keyframes `far`.
    """
    rng, step, count = np.random.default_rng(seed), 20, 60
    numbers = np.arange(step * views + count)
    cloud = rng.uniform([-1, -1, 2], [1, 1, 5], (len(numbers), 3)) + numbers[:, None] * (0.2 / step, 0, 0)
    map, camera, known, true = LocalMap(), np.eye(4), np.full(len(numbers), NO_LANDMARK), []
    for n in range(views):
        shown = numbers[step * n :][:count]
        own = cloud[shown] - (0.2 * n, 0, 0)
        rays = own[:, :2] / own[:, 2:] + rng.normal(0, 1 / FOCAL, (count, 2))
        old = known[shown] != NO_LANDMARK
        if n:
            seen = Sightings(map.points[known[shown[old]]], rays[old], np.zeros((old.sum(), 3)), np.zeros(old.sum()))
            camera, _ = refine_pose(find_pose(seen, FOCAL), seen, FOCAL)
        depths = own[:, 2] * (1.3 if n in far else 1)
        view = map.add_keyframe(
            Keyframe(camera, Features(rays, np.zeros((count, SIFT_SIZE), np.float16), depths, FOCAL), known[shown])
        )
        camera, known[shown] = view.camera, view.landmarks
        true.append(own[:, 2])
    held = [view.landmarks != NO_LANDMARK for view in map.keyframes]
    return np.array(
        [
            np.median(map.compute_depths(view.camera, view.landmarks[h]) / depth[h])
            for view, depth, h in zip(map.keyframes, true, held, strict=True)
        ]
    )


def test_after_a_while_of_wrong_depth_the_scale_returns_to_the_nets():
    units = np.stack([units_along(seed, 60, far=range(6)) for seed in range(4)])
    assert units[:, :6].mean() == pytest.approx(1.3, abs=0.06)
    assert units[:, -20:].mean() == pytest.approx(1, abs=0.06)


def test_beyond_the_limit_the_oldest_keyframes_go_with_their_own_landmarks(monkeypatch):
    monkeypatch.setattr(local_map, "MAX_KEYFRAMES", 8)
    along = CLOUD.repeat(4, axis=0) + np.column_stack((np.linspace(0, 4, 240), np.zeros((240, 2))))
    walk = Walk(along)
    for n in range(24):
        walk.look(make_camera(0.15 * n, 0.01 * n), range(9 * n, 9 * n + 33))
        assert len(walk.map.keyframes) <= 8
    shown = np.unique(np.concatenate([view.landmarks for view in walk.map.keyframes]))
    assert shown.min() >= 0
    assert shown.max() < len(walk.map.points) == len(walk.map.sigmas) < 150
    assert max(errors(view, walk.map.points).max() for view in walk.map.keyframes) < 0.5
    for n, mark in walk.known.items():
        assert np.allclose(walk.map.points[mark], along[n], atol=0.05)


def test_what_is_no_landmark_stays_none_when_views_are_forgotten(monkeypatch):
    monkeypatch.setattr(local_map, "MAX_KEYFRAMES", 4)
    walk = Walk()
    for n, camera in enumerate(PATH[:6]):
        walk.look(camera, spoil=swapped if n == 3 else lambda marks: marks)
    assert [(view.landmarks == NO_LANDMARK).sum() for view in walk.map.keyframes] == [0, 2, 0, 0]


def walked(views=5):
    walk = Walk()
    for n in range(views):
        walk.look(PATH[n], range(5 * n, 5 * n + 40), off=make_camera(0.01, 0, 0.01))
    return walk


@pytest.mark.parametrize("views", [0, 1, 5])
def test_a_map_taken_out_and_put_back_goes_on_identically(views):
    one, two = walked(views), Walk()
    two.map.load_state_dict(one.map.state_dict())
    two.relearn()
    for n in (5, 6):
        one.look(PATH[n], range(20, 60))
        two.look(PATH[n], range(20, 60))
    before, after = one.map.state_dict(), two.map.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_serial_numbers_are_never_used_again(monkeypatch):
    monkeypatch.setattr(local_map, "MAX_KEYFRAMES", 4)
    walk = walked()
    walk.look(PATH[5])
    assert [view.serial for view in walk.map.keyframes] == [3, 4, 5, 6]
    assert walk.map.find_keyframe(2) is None
    assert walk.map.find_keyframe(4) is walk.map.keyframes[1]
    walk.map.clear()
    assert walk.map.add_keyframe(Keyframe(PATH[0], walk.seen_from(PATH[0]), np.full(60, NO_LANDMARK))).serial == 7


def test_the_reference_of_an_image_shares_the_most_landmarks():
    walk = Walk()
    for n in range(3):
        walk.look(PATH[n], range(20 * n, 20 * n + 20))
    seen = np.array([*range(5), *range(20, 30), *range(40, 45), *[NO_LANDMARK] * 40])
    assert walk.map.find_reference(Keyframe(PATH[3], walk.seen_from(PATH[3]), seen)) == 2
    assert LocalMap().find_reference(Keyframe(PATH[3], walk.seen_from(PATH[3]), seen[:0])) == 0


def test_a_state_of_before_serial_numbers_is_numbered_in_order():
    state = walked(3).map.state_dict()
    del state["serials"], state["last_serial"]
    map = LocalMap()
    map.load_state_dict(state)
    assert [view.serial for view in map.keyframes] == [1, 2, 3]


def test_nothing_is_left_after_a_reset():
    walk = walked()
    walk.map.reset()
    assert all(torch.equal(t, LocalMap().state_dict()[name]) for name, t in walk.map.state_dict().items())


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("points", lambda t: t[:-1], r"spreads must be \(59\), got \(60,\)"),
        ("landmarks", lambda t: t + 1, r"landmarks must be -1 or rows of the 60 points, got 1 to 60; save it again"),
        ("landmarks", lambda t: t.float(), r"landmarks must be torch.int64"),
        ("counts", lambda t: t + 1, r"rays must be \(205, 2\), got \(200, 2\)"),
        ("cameras", lambda t: t[:3], r"focal must be \(3\), got \(5,\)"),
        ("descriptors", lambda t: t[:, :63], "descriptors must have 128 or 64 numbers each, not 63"),
    ],
)
def test_a_damaged_state_is_refused_in_one_line(name, damage, said):
    state = walked().map.state_dict()
    with pytest.raises(InputError, match=said) as refused:
        LocalMap().load_state_dict(state | {name: damage(state[name])})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", sorted(LocalMap().state_dict().keys() - {"serials", "scales"})
)  # older states have none
def test_a_state_that_lacks_something_says_what(name):
    state = walked(2).map.state_dict()
    del state[name]
    with pytest.raises(InputError, match=f"{name} must be in a saved state"):
        LocalMap().load_state_dict(state)
