"""The rasteriser: discs that can be drawn on paper, fast against plain, PyTorch3D's golden cases."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.errors import ConfigError, MissingDependency
from moonseg3r_core.memory.pytorch3d_rasterizer import make_rasterizer
from moonseg3r_core.memory.rasterizer import compute_centers, rasterize, rasterize_plain

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "parity" / "rasterizer"
BOTH = pytest.mark.parametrize("rasterizer", [rasterize, rasterize_plain])
PLAIN_CAMERA = torch.eye(3)  # at z = 1 a point's x and y are its pixel


def points(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 3)


@BOTH
def test_a_disc_covers_the_centres_strictly_inside(rasterizer):
    raster = rasterizer(points((2, 2, 1)), PLAIN_CAMERA, 5, 5, 1.5)
    expected = -torch.ones(5, 5, dtype=torch.int32)
    expected[1:4, 1:4] = 0  # the corners are at 1.414 < 1.5
    assert raster.index.equal(expected)
    assert raster.depth.equal(expected.float().masked_fill(expected == 0, 1.0))
    assert (raster.index.dtype, raster.depth.dtype) == (torch.int32, torch.float32)


@BOTH
def test_a_centre_on_the_circle_is_outside(rasterizer):
    covered = rasterizer(points((4, 4, 1)), PLAIN_CAMERA, 8, 8, 2.0).index >= 0  # 2/4 and 4/4 are exact numbers
    assert covered.nonzero().tolist() == [[y, x] for y in (3, 4, 5) for x in (3, 4, 5)]


@BOTH
def test_the_nearest_wins_and_of_equals_the_first(rasterizer):
    near, far = (2.0, 2.0, 1.0), (2 * 2.0, 2 * 2.0, 2.0)
    assert rasterizer(points(far, near), PLAIN_CAMERA, 5, 5, 1.0).index[2, 2] == 1
    assert rasterizer(points(near, near), PLAIN_CAMERA, 5, 5, 1.0).index[2, 2] == 0


@BOTH
def test_radii_differ_by_point(rasterizer):
    radii = torch.tensor([0.6, 2.5])
    index = rasterizer(points((2, 2, 1), (2 * 2, 2 * 2, 2)), PLAIN_CAMERA, 5, 5, radii).index
    assert index.tolist() == [[-1, 1, 1, 1, -1], [1] * 5, [1, 1, 0, 1, 1], [1] * 5, [-1, 1, 1, 1, -1]]


@BOTH
def test_points_too_near_behind_or_not_a_number_are_left_out(rasterizer):
    nan, inf = float("nan"), float("inf")
    bad = points((0, 0, 0.05), (0, 0, -1), (0, 0, 0), (nan, nan, nan), (inf, 0, 1), (0, 0, nan))
    assert (rasterizer(bad, PLAIN_CAMERA, 4, 6, 3.0).index == -1).all()
    assert (rasterizer(points((0, 0, 0.0501)), PLAIN_CAMERA, 4, 6, 3.0).index[0, 0] == 0).all()


@BOTH
@pytest.mark.parametrize(
    ("count", "height", "width"), [(0, 4, 6), (3, 0, 0), (3, 0, 6), (3, 4, 0), (0, 0, 0), (3, 1, 1)]
)
def test_empty_sizes_flow_through(rasterizer, count, height, width):
    raster = rasterizer(torch.ones(count, 3), PLAIN_CAMERA, height, width, 1.0)
    assert raster.index.shape == raster.depth.shape == (height, width)


@BOTH
def test_discs_that_leave_the_image_are_cut(rasterizer):
    everywhere = rasterizer(points((-3, 2, 1)), PLAIN_CAMERA, 5, 7, 50.0)
    assert (everywhere.index == 0).all()
    outside = points((-3, 2, 1), (20, 2, 1), (3, -9, 1), (3, 40, 1))
    assert (rasterizer(outside, PLAIN_CAMERA, 5, 7, 2.0).index == -1).all()
    assert (rasterizer(points((2, 2, 1)), PLAIN_CAMERA, 5, 7, 0.0).index == -1).all()


coordinate = st.one_of(st.integers(-20, 120).map(lambda n: n / 4), st.floats(-5, 30, width=32))
disc = st.tuples(
    coordinate, coordinate, st.sampled_from([0.5, 1.0, 1.0, 2.0, 0.04]), st.integers(0, 40).map(lambda n: n / 4)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(disc, max_size=30), st.integers(1, 17), st.integers(1, 33))
def test_fast_equals_plain(discs, height, width):
    """Whole and quarter pixels put many centres on the circles, where rounding decides."""
    cloud = points(*[(u * z, v * z, z) for u, v, z, _ in discs])
    radius = torch.tensor([r for *_, r in discs], dtype=torch.float32)
    fast = rasterize(cloud, PLAIN_CAMERA, height, width, radius)
    plain = rasterize_plain(cloud, PLAIN_CAMERA, height, width, radius)
    assert fast.index.equal(plain.index)
    assert fast.depth.equal(plain.depth)


@pytest.mark.parametrize("radius", [0.7, 3.0, 8.0, 12.0])
def test_fast_equals_plain_on_a_crowd(radius):
    cloud = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0, 0, 2.0])
    k = torch.tensor([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    assert rasterize(cloud, k, 48, 64, radius).index.equal(rasterize_plain(cloud, k, 48, 64, radius).index)


def test_wrong_shapes_say_so():
    with pytest.raises(ValueError, match=r"points_camera must be \(N, 3\), got \(3,\)"):
        rasterize(torch.ones(3), PLAIN_CAMERA, 4, 4, 1.0)
    with pytest.raises(ValueError, match=r"radius_px must be \(2\), got \(3,\)"):
        rasterize(torch.ones(2, 3), PLAIN_CAMERA, 4, 4, torch.ones(3))
    with pytest.raises(ConfigError, match=r"one of torch, pytorch3d, got 'open3d'"):
        make_rasterizer("open3d")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    cloud = torch.randn(2000, 3, generator=torch.Generator().manual_seed(2)) + torch.tensor([0, 0, 2.0])
    k = torch.tensor([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    there = rasterize(cloud.cuda(), k.cuda(), 48, 64, 3.0)
    here = rasterize(cloud, k, 48, 64, 3.0)
    assert there.index.cpu().equal(here.index)
    assert there.depth.cpu().equal(here.depth)


# PyTorch3D: absent it says so; present it is given what it expects.


def test_pytorch3d_that_is_absent_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(MissingDependency, match="pip install"):
        make_rasterizer("pytorch3d")


def test_pytorch3d_gets_device_coordinates(monkeypatch):
    """A stand-in that follows PyTorch3D's published convention: +x left, +y up, the shorter side spans [-1, 1]."""

    def rasterize_points(cloud, image_size, radius, points_per_pixel):
        height, width = image_size
        assert (points_per_pixel, radius.shape) == (1, (1, len(cloud)))
        x = compute_centers(torch.arange(width).float(), width, height)
        y = compute_centers(torch.arange(height).float(), height, width)
        distance = (x[None, :, None] - cloud[:, 0]) ** 2 + (y[:, None, None] - cloud[:, 1]) ** 2
        z = torch.where(distance < radius[0] ** 2, cloud[:, 2], torch.inf)
        best = z.min(-1)
        none = best.values.isinf()
        picture = best.indices.masked_fill(none, -1), best.values.masked_fill(none, -1.0)
        return picture[0][None, ..., None], picture[1][None, ..., None], None

    names = ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.points", "pytorch3d.structures")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.ModuleType("pytorch3d.renderer.points.rasterize_points")
    module.rasterize_points = rasterize_points
    monkeypatch.setitem(sys.modules, module.__name__, module)
    sys.modules["pytorch3d.structures"].Pointclouds = lambda points: points[0]

    cloud = torch.randn(200, 3, generator=torch.Generator().manual_seed(3)) + torch.tensor([0, 0, 2.0])
    k = torch.tensor([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
    theirs, ours = make_rasterizer("pytorch3d")(cloud, k, 24, 32, 1.7), rasterize(cloud, k, 24, 32, 1.7)
    assert theirs.index.equal(ours.index)
    assert theirs.depth.equal(ours.depth)
    assert (make_rasterizer("pytorch3d")(cloud[:0], k, 24, 32, 1.7).index == -1).all()


def test_device_coordinates_of_pixel_centres():
    assert compute_centers(torch.arange(4.0), 4, 8).tolist() == [0.75, 0.25, -0.25, -0.75]
    assert compute_centers(torch.arange(8.0), 8, 4).tolist() == [1.75, 1.25, 0.75, 0.25, -0.25, -0.75, -1.25, -1.75]


# Golden cases.


def parity():
    spec = importlib.util.spec_from_file_location("parity_rasterizer", ROOT / "tools" / "parity_rasterizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden cases beside the repository")
def test_golden_cases(capsys):
    pytest.importorskip("safetensors", reason="the package safetensors reads the golden cases")
    assert parity().main([str(GOLDEN)]) == 0
    assert capsys.readouterr().out.count("  equal") == len(json.loads((GOLDEN / "cases.json").read_text()))


def test_the_tool_tells_a_difference(tmp_path, capsys):
    save_file = pytest.importorskip("safetensors.torch", reason="safetensors writes the case").save_file
    raster = rasterize(points((2, 2, 1)), PLAIN_CAMERA, 5, 5, 1.5)
    case = {"points_camera": points((2, 2, 1)), "K": PLAIN_CAMERA, "idx": raster.index, "zbuf": raster.depth}
    (tmp_path / "cases.json").write_text('{"case0": {"radius_px": 1.5}}')
    save_file(case, tmp_path / "case0.safetensors")
    assert parity().main([str(tmp_path)]) == 0
    case["idx"][0, 0] = 0
    save_file(case, tmp_path / "case0.safetensors")
    assert parity().main([str(tmp_path)]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


@pytest.mark.parametrize("text", [None, "{", "{}", "[]", '{"case0": {}}', '{"case0": {"radius_px": 1}}'])
def test_the_tool_refuses_a_bad_folder_in_one_line(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "cases.json").write_text(text)
    assert parity().main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
