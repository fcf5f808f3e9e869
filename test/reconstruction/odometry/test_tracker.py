"""Poses by odometry and depth made consistent with them: exact small cases, then walks through rendered rooms."""

import math

import cv2
import numpy as np
import pytest
import torch
from cut3r_scripted import ScriptedNet, camera, frame, make_reconstruction

from moonseg3r_core.errors import InputError
from moonseg3r_core.geometry import project
from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.reconstruction.intrinsics import compute_grid_intrinsics
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.reconstruction.odometry import local_map
from moonseg3r_core.reconstruction.odometry import tracker as tracker_module
from moonseg3r_core.reconstruction.odometry.tracker import Tracker
from moonseg3r_core.reconstruction.pose_source import POSE_SOURCES, NetPose
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.types import Frame, PixelGrid

HERE = torch.eye(4, dtype=torch.float64)


@pytest.fixture(scope="module")
def room():
    """Frames of a room, and their cameras in the first one's axes."""
    frames = SyntheticSequence(3, 160, 240, 320)[:9]
    poses = torch.stack([frame.world_from_camera for frame in frames])
    return frames, torch.linalg.inv(poses[0]) @ poses


@pytest.fixture(scope="module")
def walk(room):
    """The tracker's input of each frame."""
    return [given(frame) for frame in room[0]]


@pytest.fixture(scope="module")
def exact(walk):
    """The tracker's results at exact depth."""
    tracker = Tracker()
    return [tracker(*seen) for seen in walk]


def given(frame, side=256):
    """The tracker's input: image, depth on the net's grid, the grid's intrinsics, the grid."""
    _, grid = fit_image(frame.host_image, side)
    rows = torch.arange(grid.height) * grid.scale_v + grid.offset_v
    columns = torch.arange(grid.width) * grid.scale_u + grid.offset_u
    depth = frame.depth[rows.round().long()][:, columns.round().long()]
    return frame.host_image, depth, compute_grid_intrinsics(frame.intrinsics, grid), grid


def tracked(tracker, walk, change=lambda n, depth: depth):
    """The tracker's results of a walk whose depth is changed."""
    return [tracker(image, change(n, depth), *rest) for n, (image, depth, *rest) in enumerate(walk)]


def apart(tracked, truth):
    """Metres (n,) from where the cameras are."""
    return (torch.stack([t.pose[:3, 3] for t in tracked]) - truth[: len(tracked), :3, 3]).norm(dim=1)


def of_plain(seen):
    """The same with nothing in the picture."""
    image, *rest = seen
    return np.full_like(image, 90), *rest


WALL = np.random.default_rng(0).integers(0, 256, (20, 80, 3), np.uint8).repeat(6, 0).repeat(6, 1)


def passed(tracker, stops, wall=WALL):
    """Where along a wall, 2 m away, the tracker takes the camera to be, that stands 0.2 m on at every stop; None where
    it is lost.
    """
    where = []
    for stop in stops:
        image = wall[:, 30 * stop :][:, :160].copy()  # 0.2 m at 2 m are 30 pixels
        k = torch.tensor([[300.0, 0, 80], [0, 300, 60], [0, 0, 1]])
        found = tracker(image, torch.full((120, 160), 2.0), k, PixelGrid(120, 160))
        where.append(float(found.pose[0, 3]) if found.found else None)
    return where


def test_past_a_wall_every_camera_is_where_it_was_shifted_to():
    assert passed(Tracker(), range(8)) == pytest.approx([0.2 * n for n in range(8)], abs=0.04)


def test_a_repeating_pattern_is_matched_near_the_predicted_pose():
    """Every 96 pixels it looks the same: it is taken for what lies near where it is expected."""
    alike = np.tile(WALL[:, :96], (1, 5, 1))
    where = pytest.approx([0.2 * n for n in range(8)], abs=0.05)
    assert passed(Tracker(), range(8), alike) == where


def test_one_that_jumps_farther_than_is_expected_is_found_anywhere():
    assert passed(Tracker(), [0, 0, 2, 2]) == pytest.approx([0, 0, 0.4, 0.4], abs=0.03)


def test_of_a_long_walk_the_oldest_views_are_forgotten_and_it_goes_on(monkeypatch):
    monkeypatch.setattr(local_map, "MAX_KEYFRAMES", 4)
    tracker = Tracker()
    assert passed(tracker, range(10)) == pytest.approx([0.2 * n for n in range(10)], abs=0.05)
    assert len(tracker.state_dict()["map.cameras"]) == 4
    assert passed(tracker, [0]) == [None]


def test_a_lost_camera_is_found_where_it_has_been_by_what_it_looks_like(monkeypatch):
    monkeypatch.setattr(tracker_module, "ALIKE_KEYFRAMES", 1)
    tracker = Tracker()
    passed(tracker, range(10))
    assert passed(tracker, [2]) == [pytest.approx(0.4, abs=0.03)]


def test_the_first_frame_stands_at_the_origin_and_its_depth_is_the_nets(exact):
    assert torch.equal(exact[0].pose, HERE)
    assert exact[0].found
    assert exact[0].ratios == pytest.approx(1, abs=1e-3)


def test_a_walk_at_exact_depth_is_tracked_to_a_few_centimetres(room, walk, exact):
    assert all(t.found for t in exact)
    assert apart(exact, room[1]).max() < 0.05
    for (_, depth, *_), t in zip(walk, exact, strict=True):
        assert t.ratios.shape == depth.shape
        assert t.ratios.dtype == torch.float32
        assert (t.ratios - 1).abs().mean() < 0.12


def test_every_frame_hangs_on_a_keyframe_whose_pose_can_be_asked(walk):
    tracker = Tracker()
    found = tracked(tracker, walk)
    assert found[0].anchor == 1
    assert all(0 < t.anchor <= len(tracker.state_dict()["map.cameras"]) for t in found)
    assert torch.allclose(tracker.get_anchor_pose(1), HERE)
    assert tracker.get_anchor_pose(99) is None
    lost = tracker(*of_plain(walk[-1]))
    assert (lost.anchor, len(lost.landmarks.depths)) == (found[-1].anchor, 0)
    again = Tracker()
    again.load_state_dict(tracker.state_dict())
    assert again(*of_plain(walk[-1])).anchor == lost.anchor


def test_the_landmarks_of_a_frame_lie_where_they_are_seen_at_their_depth(walk, exact):
    for (_, depth, _, grid), t in zip(walk, exact, strict=True):
        seen = t.landmarks
        assert seen.pixels.shape == (len(seen.depths), 2)
        assert len(seen.sigmas) == len(seen.depths) > 12
        assert (seen.pixels >= -1).all()
        assert (seen.pixels <= torch.tensor([grid.width, grid.height])).all()
        there = depth[
            seen.pixels[:, 1].round().long().clamp(0, grid.height - 1),
            seen.pixels[:, 0].round().long().clamp(0, grid.width - 1),
        ]
        # New landmarks lie at the net's depth times what the others tell of it, with their noise.
        assert (seen.depths / there).log().abs().median() < 0.06


def test_depth_that_errs_smoothly_by_a_fifth_gets_better_than_the_nets(room, walk):
    def err(n, depth):
        rough = np.random.default_rng((0, n)).normal(0, 0.2, (3, 4)).astype(np.float32)
        return depth * torch.from_numpy(np.exp(cv2.resize(rough, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)))

    found = tracked(Tracker(), walk, err)
    assert all(t.found for t in found)
    assert apart(found, room[1]).max() < 0.08
    after, before = [], []
    for n, ((_, depth, *_), t) in enumerate(zip(walk, found, strict=True)):
        seen = depth > 0
        before.append((err(n, depth) / depth - 1)[seen].abs().mean())
        after.append((err(n, depth) * t.ratios / depth - 1)[seen].abs().mean())
    assert np.mean(after[2:]) < 0.8 * np.mean(before[2:])


def test_a_frame_whose_net_sees_all_nearer_is_scaled_back(room, walk):
    """Every second one by a fifth: the map has a unit between them, and the cameras stand where they stood."""
    found = tracked(Tracker(), walk, lambda n, depth: depth * (0.8 if n % 2 else 1))
    assert all(t.found for t in found)
    assert apart(found, room[1]).max() < 0.05
    ratios = np.array([float(t.ratios.median()) for t in found])
    assert (ratios[1::2] / ratios[:-1:2]).mean() == pytest.approx(1.25, abs=0.05)
    assert (ratios > 0.8).all()
    assert (ratios < 1.35).all()


def test_a_frame_at_a_seventh_of_the_depth_is_found_and_its_depth_put_right(room, walk):
    found = tracked(Tracker(), walk[:6], lambda n, depth: depth * (0.15 if n == 3 else 1))
    assert all(t.found for t in found)
    assert apart(found, room[1]).max() < 0.05
    assert float(found[3].ratios.median()) == pytest.approx(1 / 0.15, rel=0.1)


def test_better_depth_places_what_the_frame_alone_shows_and_the_next_one_is_tracked_by_it(room, walk):
    def wrong(depth):
        return 1.4 * depth

    errors = {}
    for better in (False, True):
        tracker, results = Tracker(), []
        for image, depth, k, grid in walk[:4]:
            results.append(tracker(image, wrong(depth), k, grid))
            if better:
                tracker.take_depth(depth, k)
        errors[better] = float(apart(results, room[1])[1:].max())
    assert errors[True] < 0.5 * errors[False]


def test_depth_of_a_frame_that_was_not_found_changes_nothing(walk):
    tracker = Tracker()
    tracked(tracker, walk[:3])
    image, depth, k, grid = of_plain(walk[3])
    assert not tracker(image, depth, k, grid).found
    before = tracker.state_dict()
    tracker.take_depth(2 * depth, k)
    assert all(torch.equal(part, before[name]) for name, part in tracker.state_dict().items())


def test_the_maps_unit_does_not_follow_the_nets(room, walk):
    """A net whose unit changes from frame to frame leaves the camera where it is."""
    units = np.random.default_rng(2).uniform(0.6, 1.6, len(walk))
    units[0] = 1.0
    results = tracked(Tracker(), walk, lambda n, depth: depth * float(units[n]))
    assert apart(results, room[1]).max() < 0.05


def test_a_first_view_that_nothing_is_ever_like_gives_way(walk):
    """A lens cap's noise is full of features; a walk must not hang on it."""
    noise = np.random.default_rng(0).integers(0, 255, walk[0][0].shape, dtype=np.uint8)
    tracker = Tracker()
    found = [one.found for one in tracked(tracker, [(noise, *walk[0][1:]), *walk])]
    lost = tracker_module.MAX_LOST_FRAMES
    assert found == [True, *[False] * lost, *[True] * (len(walk) - lost)]


def test_a_lost_frame_stands_still_and_later_ones_are_found_again(room, walk):
    tracker = Tracker()
    before = tracked(tracker, walk[:4])
    lost = [tracker(*of_plain(seen)) for seen in walk[4:7]]
    assert not any(t.found for t in lost)
    assert all(torch.equal(t.pose, before[-1].pose) for t in lost)
    assert all(torch.equal(t.ratios, torch.ones_like(t.ratios)) for t in lost)
    after = tracked(tracker, walk[7:9])
    assert all(t.found for t in after)
    assert apart(after, room[1][7:]).max() < 0.05


def test_a_walk_that_begins_before_a_plain_wall_begins_with_what_is_seen_then(walk):
    tracker = Tracker()
    for seen in (of_plain(walk[0]), of_plain(walk[1])):
        nothing = tracker(*seen)
        assert not nothing.found
        assert torch.equal(nothing.pose, HERE)
        assert torch.equal(nothing.ratios, torch.ones_like(seen[1]))
    first = tracker(*walk[2])
    assert first.found
    assert torch.equal(first.pose, HERE)
    assert tracker(*walk[3]).found


@pytest.mark.parametrize("nothing", [0.0, math.nan])
def test_a_frame_without_depth_is_not_found(walk, nothing):
    tracker = Tracker()
    for n in (0, 2):
        image, depth, *rest = walk[n]
        without = tracker(image, torch.full_like(depth, nothing), *rest)
        assert not without.found
        assert without.ratios.isfinite().all()
        assert tracker(*walk[n + 1]).found


def test_the_nets_size_may_change_on_the_way(room, walk):
    tracker = Tracker()
    found = [*tracked(tracker, walk[:4]), *(tracker(*given(frame, 128)) for frame in room[0][4:7])]
    assert all(t.found for t in found)
    assert found[-1].ratios.shape == (96, 128)
    assert apart(found, room[1]).max() < 0.05


def test_a_camera_that_stands_adds_nothing_to_the_map(walk):
    tracker = Tracker()
    tracker(*walk[0])
    before = tracker.state_dict()
    for _ in range(2):
        still = tracker(*walk[0])
        assert (still.pose - HERE).norm() < 1e-3
    after = tracker.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("map."))


def test_a_tracker_taken_out_and_put_back_goes_on_alike(walk):
    one, two = Tracker(), Tracker()
    tracked(one, walk[:4])
    one(*of_plain(walk[4]))
    two.load_state_dict(one.state_dict())
    for seen in walk[5:8]:
        a, b = one(*seen), two(*seen)
        assert torch.equal(a.pose, b.pose)
        assert torch.equal(a.ratios, b.ratios)
        assert a.found == b.found


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("camera", lambda t: t[:3], r"camera must be \(4, 4\), got \(3, 4\)"),
        ("map.landmarks", lambda t: t + 1, r"map\.landmarks must be -1 or rows of the \d+ points"),
    ],
)
def test_a_damaged_state_is_refused_in_one_line(walk, name, damage, said):
    tracker = Tracker()
    tracker(*walk[0])
    state = tracker.state_dict()
    with pytest.raises(InputError, match=said) as refused:
        Tracker().load_state_dict(state | {name: damage(state[name])})
    assert "\n" not in str(refused.value)


def test_it_starts_anew_after_a_reset(walk):
    tracker = Tracker()
    tracked(tracker, walk[:3])
    tracker.reset()
    assert torch.equal(tracker(*walk[5]).pose, HERE)


def test_a_frame_is_placed_where_it_was_tracked_and_held_where_it_was_not(walk):
    pose = POSE_SOURCES["tracked"](SingleViewDepth(), True)
    picture, depth, intrinsics, grid = walk[0]
    image, seen = torch.from_numpy(picture), NetPose(camera(x=9), depth, grid, intrinsics)
    assert pose.get_fallback(Frame(0, 0.0, image)) is None
    place = pose(Frame(0, 0.0, image), seen, Similarity())
    assert torch.equal(place.world_from_camera, HERE)
    assert (place.scale.shape, place.motion_scale, place.held) == (depth.shape, pytest.approx(1), None)
    lost = pose(Frame(1, 0.1, torch.full_like(image, 90)), seen, Similarity())
    assert lost.held.reason == "too little of the image is recognised to tell where the camera is"
    assert torch.equal(pose.get_fallback(Frame(2, 0.2, image)), lost.world_from_camera)


def test_points_lie_on_the_rays_of_the_camera_that_is_given_at_the_depth_that_is_told():
    net = ScriptedNet([camera()])
    k = torch.tensor([[60.0, 0, 30], [0, 62, 25], [0, 0, 1]])
    seen = make_reconstruction(net, pose="tracked")(frame(0, intrinsics=k))
    assert not seen.held
    pixels, z = project(seen.points[seen.valid], seen.intrinsics)
    v, u = torch.nonzero(seen.valid, as_tuple=True)
    assert torch.allclose(pixels, torch.stack((u, v), dim=1).float(), atol=1e-3)
    assert torch.allclose(z, seen.depth[seen.valid])
