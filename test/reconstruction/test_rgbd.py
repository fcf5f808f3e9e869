"""RGB-D geometry: points drawn on paper, and every frame that cannot be placed."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import cosine_similarity, transform
from moonseg3r_core.ops.fourier import encode_fourier, encode_positions, spread_directions
from moonseg3r_core.reconstruction.config import RgbdConfig
from moonseg3r_core.reconstruction.rgbd import RgbdReconstruction, find_depth_edges
from moonseg3r_core.types import Frame

# The camera stands at (10, 20, 30) and looks along the world's x; its right is the world's -y, its down the world's -z.
POSE = torch.tensor([[0.0, 0, 1, 10], [-1, 0, 0, 20], [0, -1, 0, 30], [0, 0, 0, 1]], dtype=torch.float64)


def frame(height=48, width=64, **changes):
    whole = Frame(
        index=5,
        stamp=0.5,
        image=torch.zeros(height, width, 3, dtype=torch.uint8),
        depth=torch.full((height, width), 2.0),
        intrinsics=torch.tensor([[50.0, 0, 32], [0, 25.0, 24], [0, 0, 1]]),
        world_from_camera=POSE,
    )
    return dataclasses.replace(whole, **changes)


def make_rgbd(**settings):
    return RgbdReconstruction(**dataclasses.asdict(RgbdConfig(**settings)))


def test_a_pixel_lies_where_paper_says():
    geometry = make_rgbd()(frame())
    # pixel u = 57, v = 34 at 2 m: x = (57 - 32) / 50 * 2 = 1, y = (34 - 24) / 25 * 2 = 0.8
    assert geometry.points[34, 57].tolist() == pytest.approx([10 + 2, 20 - 1, 30 - 0.8], abs=1e-5)
    assert geometry.points[24, 32].tolist() == pytest.approx([12, 20, 30], abs=1e-5)
    assert float(geometry.confidence.min()) == 1
    assert geometry.grid.is_image((48, 64))
    assert geometry.state_attention is None
    assert torch.equal(geometry.world_from_camera, POSE)


@pytest.mark.parametrize("bad", [0.0, 0.05, 9.0, math.nan, math.inf, -1.0])
def test_depth_that_is_none_or_out_of_range_has_no_point(bad):
    depth = torch.full((48, 64), 2.0)
    depth[3, 4] = bad
    geometry = make_rgbd(min_depth=0.1, max_depth=8.0)(frame(depth=depth))
    assert float(geometry.confidence[3, 4]) == 0
    assert float(geometry.depth[3, 4]) == 0
    assert int(geometry.valid.sum()) == 48 * 64 - 1
    assert bool(torch.isfinite(geometry.points).all())
    assert bool(torch.isfinite(geometry.features.features).all())


def test_both_ends_of_the_range_are_in_it():
    depth = torch.full((2, 2), 0.5)
    depth[0] = 4.0
    assert bool(make_rgbd(min_depth=0.5, max_depth=4.0)(frame(2, 2, depth=depth)).valid.all())


def test_pixels_at_a_jump_are_left_out_on_demand():
    depth = torch.tensor([[2.0, 2.0, 2.0, 1.0, 0.0, 2.0]])
    assert find_depth_edges(depth, 0.1).tolist() == [[False, False, True, True, False, False]]
    assert not find_depth_edges(torch.tensor([[2.0, 2.1]]), 0.1).any()
    geometry = make_rgbd(edge=0.1)(frame(1, 6, depth=depth))
    assert geometry.confidence.tolist() == [[1, 1, 0, 0, 0, 1]]


REJECTED = {
    "no pose": ({"world_from_camera": None}, r"no pose: .*expects.*add pose"),
    "no depth": ({"depth": None}, r"no depth: .*expects.*add depth"),
    "no intrinsics": ({"intrinsics": None}, r"no intrinsics: .*expects.*add"),
    "NaN pose": ({"world_from_camera": POSE * math.nan}, r"NaN or infinite.*; leave"),
    "infinite pose": ({"world_from_camera": torch.full((4, 4), -math.inf).double()}, r"NaN or infinite"),
    "scaled pose": ({"world_from_camera": POSE * 2}, r"off orthonormal"),
    "mirroring pose": ({"world_from_camera": POSE @ torch.diag(torch.tensor([-1.0, 1, 1, 1])).double()}, r"mirrors"),
    "blank depth": ({"depth": torch.zeros(48, 64)}, r"depth between 0\.1 and 8 m, got none; check"),
    "depth in millimetres": ({"depth": torch.full((48, 64), 2000.0)}, r"got none; check the depth's unit"),
    "no focal length": ({"intrinsics": torch.zeros(3, 3)}, r"focal lengths above 0, got fx 0, fy 0; check"),
    "NaN intrinsics": ({"intrinsics": torch.full((3, 3), math.nan)}, r"focal lengths above 0"),
}


@pytest.mark.parametrize(("changes", "message"), REJECTED.values(), ids=REJECTED.keys())
def test_a_frame_that_cannot_be_placed_is_rejected_and_the_next_one_is_not(changes, message):
    rgbd = make_rgbd()
    with pytest.raises(FrameRejected, match=message):
        rgbd(frame(**changes))
    rgbd.reset()
    assert bool(rgbd(frame()).valid.all())


def random_pose(seed):
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = q * torch.sign(torch.linalg.det(q))
    pose[:3, 3] = torch.rand(3, generator=generator, dtype=torch.float64) * 10 - 5
    return pose


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_moving_the_camera_moves_the_points_and_nothing_else(seed):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(48, 64, generator=generator) * 3 + 0.5
    move, rgbd = random_pose(seed), make_rgbd()
    here = rgbd(frame(depth=depth))
    there = rgbd(frame(depth=depth, world_from_camera=move @ POSE))
    assert torch.allclose(transform(here.points, move), there.points, atol=1e-4)
    assert torch.equal(here.depth, there.depth)


def test_directions_are_unit_vectors_that_cover_the_sphere():
    d = spread_directions(16)
    assert torch.allclose(d.norm(dim=1), torch.ones(16), atol=1e-6)
    assert torch.allclose(d.T @ d / 16, torch.eye(3) / 3, atol=0.05)


@pytest.mark.parametrize("axis", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.6, 0, 0.8), (-0.6, 0.8, 0)])
def test_likeness_falls_with_distance_alike_in_all_directions(axis):
    origin = torch.tensor([[3.0, -2.0, 1.0]])
    distances = torch.tensor([0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 4.0])
    points = origin + distances[:, None] * torch.tensor(axis)
    alike = cosine_similarity(encode_fourier(origin, 8.0, 5), encode_fourier(points, 8.0, 5))[0]
    assert float(alike[0]) == pytest.approx(1, abs=1e-5)
    assert float(alike[2]) > 0.9
    assert bool((alike.diff() < 0).all())
    expected = torch.stack([torch.sinc(2 * distances / (8.0 / 2**o)) for o in range(5)]).mean(0)
    assert torch.allclose(alike[:5], expected[:5], atol=0.12)
    assert abs(float(alike[-1])) < 0.3


def test_octaves_equal_their_plain_sines():
    points = torch.rand(20, 3) * 10 - 5
    plain = points @ spread_directions(4).T
    parts = [f(plain * 2 * math.pi / (8.0 / 2**o)) for o in range(3) for f in (torch.sin, torch.cos)]
    assert torch.allclose(encode_fourier(points, 8.0, 3, 4), torch.cat(parts, 1) / math.sqrt(12), atol=1e-5)


def test_a_cell_holds_the_mean_of_its_own_points():
    points = torch.zeros(32, 48, 3)
    points[:16, 16:32] = torch.tensor([1.0, 2.0, 3.0])
    valid = torch.ones(32, 48, dtype=torch.bool)
    valid[16:, 32:] = False
    features = encode_positions(points, valid, 16, 8.0, 5)
    assert features.shape == (2, 3, 160)
    assert torch.allclose(features[0, 1], encode_fourier(points[0, 16], 8.0, 5), atol=1e-5)
    assert torch.allclose(features[0, 0], encode_fourier(points[0, 0], 8.0, 5), atol=1e-5)
    assert float(features[1, 2].abs().max()) == 0


@pytest.mark.parametrize(
    ("height", "width", "h", "w"), [(480, 640, 30, 40), (50, 33, 4, 3), (1, 1, 1, 1), (5, 100, 1, 7)]
)
def test_the_grid_has_one_cell_per_sixteen_pixels_rounded_up(height, width, h, w):
    geometry = make_rgbd()(frame(height, width))
    assert geometry.features.features.shape == (h, w, 160)
    assert bool((geometry.features.features.norm(dim=-1) > 0).all())
