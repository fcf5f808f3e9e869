"""Key frames, submaps, scale and pose sources: motions and lengths that can be added up on paper."""

import math

import pytest
import torch
from cut3r_scripted import ScriptedNet, broken_points, broken_pose, broken_state, camera, frame, unsure
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import compute_rotation_angle, find_rigid_fault, transform
from moonseg3r_core.ops.running_median import RunningMedian
from moonseg3r_core.reconstruction.cut3r.inference import NetRunner
from moonseg3r_core.reconstruction.cut3r.keyframes import KeyframeSelector, make_thumbnail
from moonseg3r_core.reconstruction.cut3r.net.model import OutputRequest
from moonseg3r_core.reconstruction.cut3r.submaps import Submaps, align, chain_similarity
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.reconstruction.odometry.depth_alignment import MetricDepth
from moonseg3r_core.reconstruction.pose_source import ExternalPoses, NetPose, NetPoses
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.types import PixelGrid


def test_the_median_is_of_the_last_numbers():
    running = RunningMedian(3)
    assert math.isnan(running.value)
    medians = []
    for number in (1.0, 5.0, 2.0, 7.0, 9.0):
        running.add(number)
        medians.append(running.value)
    assert medians == [1, 3, 2, 5, 7]
    assert len(running) == 3
    shorter = RunningMedian(2)
    shorter.load_state_dict(running.state_dict())
    assert (len(shorter), shorter.value) == (2, 8)


HERE, THERE = torch.full((3, 4), 100, dtype=torch.uint8), torch.full((3, 4), 110, dtype=torch.uint8)


def test_a_key_frame_has_moved_by_a_share_of_the_depth_or_turned():
    keys = KeyframeSelector(translation=0.02, rotation=2.0)
    assert keys.is_due(camera(), 2.0, HERE)
    keys.add(camera(), HERE)
    assert not keys.is_due(camera(x=0.0399), 2.0, THERE)
    assert keys.is_due(camera(x=0.0401), 2.0, THERE)
    assert not keys.is_due(camera(x=0.0401), 3.0, THERE)
    assert not keys.is_due(camera(turn=1.99), 2.0, THERE)
    assert keys.is_due(camera(turn=-2.01), 2.0, THERE)
    assert not keys.is_due(camera(), 2.0, THERE)


def test_where_the_view_stays_nothing_has_moved_whatever_the_pose_says():
    keys = KeyframeSelector(translation=0.02, rotation=2.0)
    keys.add(camera(), HERE)
    assert not keys.is_due(camera(x=9, turn=90), 2.0, HERE)
    assert not keys.is_due(camera(x=9), 2.0, HERE + 1)
    assert keys.is_due(camera(x=9), 2.0, HERE - 2)
    assert keys.is_due(camera(x=9), 2.0, HERE.T)


def test_slow_steps_add_up_to_a_key_frame():
    keys, seen = KeyframeSelector(translation=0.02, rotation=2.0), []
    for step in range(10):
        pose, view = camera(z=0.011 * step), HERE + 3 * step
        seen.append(keys.is_due(pose, 1.0, view))
        if seen[-1]:
            keys.add(pose, view)
    assert seen == [True, False, True, False, True, False, True, False, True, False]
    assert keys.count == 5


@pytest.mark.parametrize("limits", [(0.0, 0.0), (0.02, 0.0), (0.0, 2.0)])
def test_with_either_limit_at_zero_every_frame_is_a_key_frame(limits):
    keys = KeyframeSelector(*limits)
    keys.add(camera(), HERE)
    assert keys.is_due(camera(), 2.0, HERE)


def test_noise_and_flicker_are_no_change_of_view_and_a_small_turn_is():
    image = frame(120, 480, 600).image
    image = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1).float()[None], 31, 1, 15)[0].permute(1, 2, 0)
    image = (image - 128) * 8 + 128  # smooth shapes of good contrast
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * 8
    keys = KeyframeSelector(0.02, 2.0)
    keys.add(camera(), make_thumbnail(image.clamp(0, 255).to(torch.uint8).numpy()))
    views = {name: make_thumbnail(changed.clamp(0, 255).to(torch.uint8).numpy()) for name, changed in
             {"noise": image + noise, "flicker": image * 1.01, "turn": image.roll(12, 1)}.items()}  # fmt: skip
    assert {name: keys.is_due(camera(x=1), 1.0, view) for name, view in views.items()} == {
        "noise": False, "flicker": False, "turn": True,
    }  # fmt: skip


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 0.3, 90.0, 179.9, -40.0])
def test_the_angle_between_two_poses(degrees):
    turned = camera(x=3, turn=20) @ camera(turn=degrees)
    assert compute_rotation_angle(camera(turn=20), turned) == pytest.approx(abs(degrees), abs=1e-7)


def test_a_similarity_moves_points_and_cameras_alike():
    similarity = Similarity(2.0, camera(turn=90)[:3, :3], torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert torch.allclose(
        similarity.transform_points(torch.tensor([[0.0, 1, 3]])), torch.tensor([[7.0, 2, 0]]), atol=1e-6
    )
    pose, seen = camera(x=1, z=2, turn=30), torch.tensor([[0.5, -0.5, 4.0]], dtype=torch.float64)
    moved = similarity.transform_pose(pose)
    assert find_rigid_fault(moved, 1e-9) is None
    assert torch.allclose(similarity.transform_points(transform(seen, pose)), transform(seen * 2, moved), atol=1e-9)


number = st.floats(-5, 5)


@settings(max_examples=50, deadline=None)
@given(number, number, st.floats(-180, 180), number, st.floats(-180, 180), st.floats(0.1, 10))
def test_chaining_brings_the_boundary_camera_onto_itself(x, z, turn, other, other_turn, ratio):
    before = Similarity(3.0, camera(turn=50)[:3, :3], torch.tensor([1.0, 2, 3], dtype=torch.float64))
    old, new = camera(x=x, z=z, turn=turn), camera(y=other, turn=other_turn)
    after = chain_similarity(before, ratio, old, new)
    assert torch.allclose(after.transform_pose(new), before.transform_pose(old), atol=1e-9)
    assert after.scale == pytest.approx(3 * ratio)


def infer_boundary(old_unit=1.0, new_unit=1.0, damage=None):
    """Inference of frame 1 in the submap of frame 0, and in a new submap."""
    net = ScriptedNet([camera(), camera(x=0.3, turn=10)], units={0: old_unit, 1: new_unit})
    run, request = NetRunner(net, "float32", 1.5), OutputRequest(world=False)
    images = [frame(i).image.permute(2, 0, 1)[None] / 255 * 2 - 1 for i in (0, 1)]
    began = run(run.encode(images[0]), run.start(), request).state
    old = run(run.encode(images[1]), began, request)
    net.damage = {1: damage} if damage else {}
    return old, run(old.tokens, run.start(), request)


@pytest.mark.parametrize(("old", "new"), [(1.0, 1.0), (1.0, 4.0), (0.5, 0.1)])
def test_the_scale_of_a_new_submap_is_the_ratio_of_the_depths(old, new):
    similarity = align(Similarity(), *infer_boundary(old, new), 1.5)
    assert similarity.scale == pytest.approx(old / new, rel=1e-6)
    assert torch.allclose(similarity.transform_pose(camera()), camera(x=0.3 * old, turn=10), atol=1e-6)


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_a_submap_of_an_implausible_scale_is_not_aligned(unit):
    assert align(Similarity(), *infer_boundary(new_unit=unit), 1.5) is None


@pytest.mark.parametrize("damage", [unsure, broken_pose, broken_points, broken_state])
def test_unusable_outputs_are_not_aligned(damage):
    assert align(Similarity(), *infer_boundary(damage=damage), 1.5) is None


def test_a_submap_is_due_after_so_many_key_frames():
    submaps, due = Submaps(every=3), []
    for _ in range(7):
        due.append(submaps.is_due)
        if submaps.is_due:
            submaps.begin(Similarity(scale=2.0))
        submaps.add_keyframe()
    assert due == [False, False, False, True, False, False, True]
    assert submaps.number == 2
    submaps.reset()
    assert (submaps.number, submaps.keys, submaps.similarity.scale) == (0, 0, 1.0)


def test_never_is_never():
    submaps = Submaps(every=0)
    for _ in range(100):
        submaps.add_keyframe()
    assert not submaps.is_due


def make_net_pose(there):
    return NetPose(there, torch.ones(2, 2), PixelGrid(2, 2), torch.eye(3))


def test_the_nets_poses_are_in_units_of_its_first_submap():
    pose = NetPoses(SingleViewDepth())
    assert pose.get_fallback(frame()) is None
    place = pose(frame(), make_net_pose(camera(x=2)), Similarity(scale=0.5))
    assert torch.equal(place.world_from_camera, camera(x=2))
    assert (place.scale, place.held) == (0.5, None)
    assert torch.equal(pose.get_fallback(frame()), camera(x=2))


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (None, r"no pose: pose=given expects one with every frame; add poses"),
        (camera() * 2, r"unusable pose: the pose must be a rigid 4 x 4.*off orthonormal.*leave such frames out"),
        (camera() * math.nan, r"unusable pose: the pose must be .*NaN"),
    ],
)
def test_a_frame_that_brings_no_pose_is_rejected_in_one_line(pose, words):
    with pytest.raises(FrameRejected, match=words) as rejected:
        ExternalPoses(MetricDepth(0.25), SingleViewDepth()).check(frame(7, world_from_camera=pose))
    assert "\n" not in str(rejected.value)
