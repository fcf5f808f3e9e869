"""The refinement of a stream's depth, by a net that is not trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moonseg3r_core.errors import InputError, WeightsError
from moonseg3r_core.reconstruction.config import MultiViewConfig
from moonseg3r_core.reconstruction.multi_view import depth as module
from moonseg3r_core.reconstruction.multi_view.depth import MultiViewDepth, SingleViewDepth, View, build_refinement
from moonseg3r_core.reconstruction.multi_view.net import MultiViewNet, read_multi_view_net, write_multi_view_net
from moonseg3r_core.types import PixelGrid

GRID = PixelGrid(48, 64, 2.0, 2.0, 0.5, 0.5)
K = torch.tensor([[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "LONG_SIDE", 128)


def make_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultiViewNet((16, 16, 16), 16).eval().requires_grad_(False)


def make_view(x=0.0, **changes):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    depth = torch.full((48, 64), 2.0)
    depth[0] = 0.0
    return replace(View(np.roll(IMAGE, -int(60 * x), 1), depth, K, GRID, pose), **changes)


def test_depth_comes_on_the_grid_where_the_first_depth_is_known():
    refined = MultiViewDepth(make_net(), 2)(make_view(), {})
    assert refined.depth.shape == refined.confidence.shape == (48, 64)
    assert not refined.depth[0].any()
    assert not refined.confidence[0].any()
    assert (refined.depth[1:] > 0).all()
    assert (refined.confidence[1:] > 1).all()


@pytest.mark.parametrize("factor", [0.25, 16.0])
def test_the_unit_of_the_map_does_not_matter(factor):
    near, far = MultiViewDepth(make_net(), 2), MultiViewDepth(make_net(), 2)
    for x in (0.0, 0.2, 0.4):
        one, view = near(make_view(x), {}), make_view(x)
        pose = view.pose.clone()
        pose[:3, 3] *= factor
        other = far(replace(view, pose=pose, depth=view.depth * factor), {})
        same = torch.isclose(other.depth, one.depth * factor, rtol=1e-3).float().mean()
        assert same > 0.98  # rounding may change the best plane of an untrained net


def test_another_grid_gets_depth_of_its_own_size():
    grid = PixelGrid(96, 128)
    wide = K * torch.tensor([[2.0], [2.0], [1.0]]) + torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    refined = MultiViewDepth(make_net(), 2)(make_view(grid=grid, intrinsics=wide, depth=torch.full((96, 128), 2.0)), {})
    assert refined.depth.shape == (96, 128)
    assert (refined.depth > 0).all()


def test_a_view_without_any_depth_stays_so():
    refinement = MultiViewDepth(make_net(), 2)
    refined = refinement(make_view(depth=torch.zeros(48, 64)), {})
    assert not refined.depth.any()
    assert refinement.anchors == {0}


def test_a_stream_goes_on_from_its_state():
    first, second = MultiViewDepth(make_net(), 2), MultiViewDepth(make_net(), 2)
    for x in (0.0, 0.1, 0.2):
        first(make_view(x, anchor=1), {1: torch.eye(4, dtype=torch.float64)})
    second.load_state_dict(first.state_dict())
    assert second.anchors == first.anchors == {1}
    expected = first(make_view(0.3), {})
    assert torch.allclose(second(make_view(0.3), {}).depth, expected.depth, rtol=1e-3)
    first.reset()
    assert not torch.allclose(first(make_view(0.3), {}).depth, expected.depth, rtol=1e-3)
    state = first.state_dict()
    with pytest.raises(InputError):
        second.load_state_dict({name: part for name, part in state.items() if name != "former.depth"})
    second.load_state_dict({})
    assert second.anchors == {0}


@pytest.mark.parametrize("use_first", [True, False])
def test_the_net_is_told_of_a_first_depth_where_it_counts_or_nothing_else_is_known(use_first, monkeypatch):
    net, told = make_net(), []
    monkeypatch.setattr(
        net, "forward", lambda *parts, own=net.forward: (told.append(bool(parts[-1].known.any())), own(*parts))[1]
    )
    refine = MultiViewDepth(net, 2, use_first)
    for x in (0.0, 0.2, 0.4):
        refine(make_view(x), {})
    assert told == [True, use_first, use_first]


def test_views_of_a_state_without_fine_features_are_forgotten():
    refine, again = MultiViewDepth(make_net(), 2), MultiViewDepth(make_net(), 2)
    for x in (0.0, 0.2):
        refine(make_view(x), {})
    state = {name: part for name, part in refine.state_dict().items() if "fine" not in name}
    again.load_state_dict(state)
    assert not len(again._views)
    assert again(make_view(0.4), {}).depth.any()


def test_no_sources_keep_the_first_depth():
    refinement = build_refinement(MultiViewConfig(sources=0), torch.device("cpu"))
    assert isinstance(refinement, SingleViewDepth)
    view = make_view()
    assert refinement(view, {}).depth is view.depth


def test_weights_come_back_and_others_are_refused(tmp_path):
    path, net = tmp_path / "net.safetensors", make_net()
    write_multi_view_net(path, net)
    again = read_multi_view_net(path)
    assert torch.equal(again.log_planes, net.log_planes)
    assert torch.allclose(again.choose.weight, net.choose.weight, atol=1e-3)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="moonseg3r train depth"):
        read_multi_view_net(path)
