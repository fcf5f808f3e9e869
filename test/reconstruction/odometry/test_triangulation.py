"""Depth by known poses: rays that meet at a point on paper, then a room whose net counts in another unit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cut3r_scripted import camera

from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.reconstruction.intrinsics import compute_grid_intrinsics
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.reconstruction.odometry.depth_alignment import MetricDepth
from moonseg3r_core.reconstruction.odometry.triangulation import compute_epipolar_distance, fuse_depths, triangulate
from moonseg3r_core.reconstruction.pose_source import ExternalPoses, NetPose
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.synthetic import SyntheticSequence

RIGHT = np.linalg.inv(camera(x=1.0).numpy())  # the other camera is 1 m to the right


def test_rays_that_meet_give_the_depth_and_what_a_shift_does_to_it():
    depth, change = triangulate(np.array([[0.5, 0.0]]), np.array([[0.0, 0.0]]), RIGHT)
    assert depth == pytest.approx([2.0])  # (1, 0, 2)
    assert change == pytest.approx([2.0])  # 0.01 of the ray is 2 % of the depth: baseline over depth is 0.5


def test_rays_that_part_have_no_depth():
    depth, change = triangulate(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.5, 0.0], [0.0, 0.0]]), RIGHT)
    assert np.isnan(depth[0])
    assert change[0] == np.inf
    assert not change[1] < 1e6  # parallel: infinitely far


def test_a_camera_to_the_right_sees_a_point_in_the_same_row():
    distance = compute_epipolar_distance(np.array([[0.5, 0.1]]), np.array([[-3.0, 0.1], [0.0, 0.3]]), RIGHT)
    assert distance == pytest.approx(np.array([[0.0, 0.2]]), abs=1e-6)


def test_depths_of_a_feature_are_fused_by_their_sigmas_and_left_out_where_they_disagree():
    rows, logs, sigmas = fuse_depths(
        np.array([4, 4, 9, 9]), np.array([0.0, 0.1, 0.0, 2.0]), np.array([0.1, 0.1, 0.1, 0.1])
    )
    assert rows.tolist() == [4]
    assert logs == pytest.approx([0.05])
    assert sigmas == pytest.approx([0.1 / np.sqrt(2)])


@pytest.fixture(scope="module")
def room():
    return list(SyntheticSequence(3, 80, 240, 320)[:7])


def place(source, frame, unit=0.4, submap=2.0, stretch=1.0):
    """Place a frame whose net sees true depth in a unit of its own, and gives no usable pose."""
    _, grid = fit_image(frame.host_image, 256)
    rows = torch.arange(grid.height) * grid.scale_v + grid.offset_v
    columns = torch.arange(grid.width) * grid.scale_u + grid.offset_u
    depth = frame.depth[rows.round().long()][:, columns.round().long()]
    net = NetPose(torch.eye(4).double(), depth * unit * stretch, grid, compute_grid_intrinsics(frame.intrinsics, grid))
    found = source(frame, net, Similarity(scale=submap))
    known = depth > 0
    return found, (net.depth * found.scale / depth)[known]


def test_the_map_is_in_metres_whatever_unit_and_pose_the_net_has(room):
    source, held, errors = ExternalPoses(MetricDepth(0.25), SingleViewDepth()), [], []
    for frame in room:
        found, over_true = place(source, frame)
        held.append(bool(found.held))
        errors += [] if found.held else [float((over_true - 1).abs().median())]
        assert torch.equal(found.world_from_camera, frame.world_from_camera)
    assert held == [True] * 3 + [False] * 4
    assert max(errors) < 0.06


def test_a_frame_whose_depth_does_not_fit_its_landmarks_is_held_and_the_next_is_not(room):
    source = ExternalPoses(MetricDepth(0.25), SingleViewDepth())
    found = [place(source, frame, stretch=3.0 if n == 5 else 1.0)[0] for n, frame in enumerate(room)]
    assert "does not fit the landmarks of the given poses: 0.3" in str(found[5].held)
    assert found[6].held is None


def test_poses_in_millimetres_are_held(room):
    source = ExternalPoses(MetricDepth(0.25), SingleViewDepth())
    for frame in room:
        pose = frame.world_from_camera.clone()
        pose[:3, 3] *= 1000
        found, _ = place(source, replace(frame, world_from_camera=pose), unit=1.0, submap=1.0)
    assert "the poses are not in metres: they make the scene 1e+03 times" in str(found.held)


def test_going_on_from_a_saved_state_equals_never_having_stopped(room):
    never, again = (
        ExternalPoses(MetricDepth(0.25), SingleViewDepth()),
        ExternalPoses(MetricDepth(0.25), SingleViewDepth()),
    )
    for frame in room[:5]:
        place(never, frame)
    again.load_state_dict(never.state_dict())
    for frame in room[5:]:
        assert torch.equal(place(never, frame)[1], place(again, frame)[1])
    again.reset()
    assert place(again, room[6])[0].held
