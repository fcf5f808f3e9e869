"""The line of the depth kind with a network that says the truth, and what it does without pose, depth or intrinsics."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from depth_nets import make_tiny_config

from moonseg3r_core import build_segmenter, load_config
from moonseg3r_core.build import hash_weights
from moonseg3r_core.errors import ConfigError, FrameRejected
from moonseg3r_core.evaluation.reconstruction_scores import compare, compute_scores
from moonseg3r_core.reconstruction.depth.build import LOG_SIGMA, make_poses
from moonseg3r_core.reconstruction.depth.network import make_strided_grid
from moonseg3r_core.reconstruction.depth.reconstruction import DepthReconstruction
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.reconstruction.odometry.depth_alignment import MetricDepth, RelativeDepth
from moonseg3r_core.resolve import required_inputs, resolve
from moonseg3r_core.synthetic import SyntheticSequence

SIZE = (120, 160)
BLACK = torch.zeros(*SIZE, 3, dtype=torch.uint8)


@pytest.fixture(scope="module")
def room():
    return list(SyntheticSequence(500_302, frames=10, height=SIZE[0], width=SIZE[1]))


class Truth:
    """A network that says the truth of the frames in their order: in metres, or a line of inverse depth."""

    def __init__(self, frames, line=None):
        self.depths, self.line = [frame.depth for frame in frames], line

    def __call__(self, image):
        depth = self.depths.pop(0)
        if self.line is not None:
            scale, shift = self.line
            depth = torch.where(depth > 0, 1 / (scale / depth + shift), 0.0)
        return depth, make_strided_grid(SIZE, SIZE, 1)


def make_stage(frames, line=None, pose="tracked"):
    alignment = MetricDepth(LOG_SIGMA) if line is None else RelativeDepth(LOG_SIGMA)
    return DepthReconstruction(
        Truth(frames, line), make_poses(pose, alignment, SingleViewDepth(), True), alignment, 50.0, 60.0
    )


@pytest.mark.parametrize(("line", "held"), [(None, 0), ((3.0, 0.4), 4)])
def test_the_truth_is_mapped_along_a_tracked_path(room, line, held):
    scores = compute_scores(compare(make_stage(room, line), room, ("intrinsics",)))
    assert scores.held <= held
    assert scores.rejected == 0
    assert scores.abs_rel < 0.06 < 0.15 < scores.constant
    assert scores.tracked_ate_share < 0.1
    if line is None:
        assert scores.depth_scale == pytest.approx(1, abs=0.1)  # metres


@pytest.mark.parametrize("line", [None, (3.0, 0.4)])
def test_given_poses_make_metres_of_it(room, line):
    scores = compute_scores(compare(make_stage(room, line, "given"), room, ("intrinsics", "poses")))
    assert scores.held <= 4
    assert scores.tracked_ate == pytest.approx(0, abs=1e-9)
    assert scores.depth_scale == pytest.approx(1, abs=0.05)
    assert scores.abs_rel < 0.1


def test_points_lie_on_the_rays_and_far_ones_are_left_out(room):
    stage = make_stage(room)
    stage._max_depth = float(room[0].depth.median())
    seen = stage(room[0])
    assert seen.grid.is_image(SIZE)
    assert 0.3 < float(seen.valid.float().mean()) < 0.7
    assert float(seen.depth.max()) <= stage._max_depth
    torch.testing.assert_close(seen.points[seen.valid][:, 2], seen.depth[seen.valid], atol=1e-5, rtol=0)
    assert bool((seen.points[~seen.valid] == 0).all())
    assert seen.features is not None


def test_a_black_image_is_held_and_before_any_pose_rejected(room):
    stage = make_stage([room[0], *room])
    black = replace(room[0], image=BLACK)
    with pytest.raises(FrameRejected, match="the image is black: no frame before it could be placed"):
        stage(black)
    first, held = stage(room[0]), stage(black)
    assert held.held.reason == "the image is black"
    assert held.world_from_camera.equal(first.world_from_camera)
    assert not held.valid.any()


def test_a_relative_network_waits_for_parallax(room):
    stage = make_stage([room[0]] * 3, line=(3.0, 0.4))
    for _ in range(3):
        seen = stage(room[0])
        assert not seen.valid.any()
        assert seen.held.reason == "scale and shift of the network's depth are not known before the camera has moved"


def test_a_network_that_sees_nothing_is_held(room):
    stage = make_stage([room[0], replace(room[1], depth=torch.zeros(SIZE))])
    stage(room[0])
    assert stage(room[1]).held.reason == "the network sees no depth"


def test_frames_without_intrinsics_have_the_assumed_ones_and_it_is_said_once(room, caplog):
    stage = make_stage(room)
    with caplog.at_level(logging.WARNING, "moonseg3r"):
        one, _ = (stage(replace(frame, intrinsics=None)) for frame in room[:2])
    assert [record.message.startswith("frames bring no intrinsics") for record in caplog.records] == [True]
    assert float(one.intrinsics[0, 0]) == pytest.approx(80 / math.tan(math.radians(30)))
    assert float(one.intrinsics[0, 2]) == pytest.approx(79.5)


@pytest.mark.parametrize("pose", ["tracked", "given"])
def test_going_on_equals_never_having_stopped(room, pose):
    never, again = make_stage(room, (3.0, 0.4), pose), make_stage(room[5:], (3.0, 0.4), pose)
    for frame in room[:5]:
        never(frame)
    again.load_state_dict(never.state_dict())
    for frame in room[5:7]:
        one, other = never(frame), again(frame)
        assert one.points.equal(other.points)
        assert one.world_from_camera.equal(other.world_from_camera)
    never.reset()
    fresh = make_stage(room, (3.0, 0.4), pose).state_dict()
    assert all(fresh[name].equal(value) for name, value in never.state_dict().items())


def configured(**settings):
    chosen = {"reconstruction.kind": "depth", "reconstruction.random": True, "masks.kind": "regions", "device": "cpu"}
    return load_config(overrides=chosen | {name.replace("__", "."): value for name, value in settings.items()})


def test_defaults_suit_depth_from_color():
    config = resolve(configured())
    assert config.refinement.kind == "average"
    assert (config.fusion.overlap_voxel, config.fusion.match_threshold) == (0.1, 1.0)
    assert required_inputs(config) == ()
    assert required_inputs(configured(reconstruction__depth__pose="given")) == ("poses",)
    with pytest.raises(ConfigError, match=r"features.kind=reconstruction expects .* got reconstruction.kind=depth"):
        resolve(configured(features__kind="reconstruction"))


def test_an_untrained_net_walks_the_whole_line_and_is_named(room, tmp_path):
    pytest.importorskip("transformers")
    make_tiny_config("relative").save_pretrained(tmp_path)
    config = configured(reconstruction__depth__weights=str(tmp_path), reconstruction__depth__short_side=56)
    segmenter = build_segmenter(config)
    for frame in room[:2]:
        assert segmenter.step(frame).geometry.grid.width == 35  # every second column of 75 in whole patches
    assert "reconstruction.placement.tracker.alignment.known" in segmenter.state_dict()
    hashes = hash_weights(resolve(config))
    assert hashes.pop("multi_view")
    assert hashes == {str(tmp_path): "UNTRAINED"}
