"""Cameras, poses, boxes and similarity alignment on cases that can be drawn on paper."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moonseg3r_core.geometry import (
    align_similarity,
    box_iou,
    cosine_similarity,
    find_rigid_fault,
    invert,
    project,
    transform,
    unproject,
)

K = torch.tensor([[100.0, 0.0, 2.0], [0.0, 100.0, 1.0], [0.0, 0.0, 1.0]])


def pose(angle=0.3, translation=(1.0, -2.0, 0.5)):
    c, s = math.cos(angle), math.sin(angle)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    matrix[:3, 3] = torch.tensor(translation)
    return matrix


def test_unproject_by_hand():
    depth = torch.zeros(3, 5)
    depth[1, 2] = depth[1, 4] = 2.0
    points = unproject(depth, K)
    assert points[1, 2].tolist() == [0.0, 0.0, 2.0]
    assert points[1, 4].tolist() == pytest.approx([0.04, 0.0, 2.0])


def test_project_undoes_unproject():
    depth = torch.rand(3, 5) + 0.5
    pixels, z = project(unproject(depth, K).view(-1, 3), K)
    v, u = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack((u, v), -1).view(-1, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(z, depth.flatten())


def test_points_behind_the_camera_have_no_pixel():
    pixels, _ = project(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), K)
    assert pixels.isnan().all()


def test_inverse_of_a_pose():
    torch.testing.assert_close(invert(pose()) @ pose(), torch.eye(4, dtype=torch.float64))
    points = torch.rand(7, 3)
    torch.testing.assert_close(transform(transform(points, pose()), invert(pose())), points, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda m: m.__setitem__((0, 3), math.nan), "NaN"),
        (lambda m: m.__setitem__((0, 3), math.inf), "infinite"),
        (lambda m: m.__setitem__((0, 0), 2.0), "orthonormal"),
        (lambda m: m.__setitem__(0, -m[0].clone()), "mirrors"),
        (lambda m: m.__setitem__((3, 0), 1.0), "last row"),
    ],
)
def test_what_is_wrong_with_a_pose(spoil, words):
    assert find_rigid_fault(pose()) is None
    bad = pose()
    spoil(bad)
    assert words in find_rigid_fault(bad)


def test_box_iou_by_hand():
    unit = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    half = unit + torch.tensor([0.5, 0.0, 0.0])
    flat = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    nothing = torch.full((1, 2, 3), torch.nan)
    boxes = torch.cat((unit, half, flat, nothing))
    assert box_iou(unit, boxes)[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0, 0.0])
    assert (box_iou(nothing, boxes) == 0).all()
    assert box_iou(unit[:0], boxes).shape == (0, 4)


def test_cosine_of_nothing_is_zero():
    assert cosine_similarity(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0]])).tolist() == [
        [0.0],
        [1.0],
    ]


@given(st.integers(0, 1000), st.floats(0.1, 10.0), st.floats(-3.0, 3.0))
def test_alignment_finds_the_similarity(seed, scale, angle):
    source = torch.rand(10, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved = scale * transform(source, pose(angle, (0.0, 0.0, 0.0))) + torch.tensor([1.0, 2.0, 3.0])
    s, rotation, translation = align_similarity(source, moved)
    assert s == pytest.approx(scale)
    torch.testing.assert_close(s * source @ rotation.T + translation, moved)


def test_alignment_never_mirrors():
    source = torch.rand(6, 3, dtype=torch.float64)
    _, rotation, _ = align_similarity(source, source * torch.tensor([1.0, 1.0, -1.0]))
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


def test_alignment_of_one_point_is_a_translation():
    scale, _, translation = align_similarity(torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]]))
    assert scale == 1.0
    assert translation.tolist() == [1.0, 2.0, 3.0]
