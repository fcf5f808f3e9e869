"""CUT3R in the whole pipeline, on color images alone."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from moonseg3r_core import build_segmenter, load_config, load_map, save_map
from moonseg3r_core.cli import main
from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.build import open_net
from moonseg3r_core.sources import open_source
from moonseg3r_core.synthetic import SyntheticSequence

TINY = {
    "reconstruction.kind": "cut3r", "reconstruction.random": True, "reconstruction.cut3r.model": "cut3r-tiny",
    "reconstruction.cut3r.min_confidence": 1.0, "masks.kind": "regions", "masks.regions.width": 64, "device": "cpu",
}  # fmt: skip


def configured(**settings):
    return load_config(overrides=TINY | {name.replace("__", "."): value for name, value in settings.items()})


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of color images and nothing else."""
    folder = tmp_path_factory.mktemp("images")
    for frame in SyntheticSequence(7, frames=6, height=96, width=128):
        Image.fromarray(frame.image.numpy()).save(folder / f"{frame.index:04d}.png")
    return folder


def as_options(settings):
    return [f"{name}={value}" for name, value in settings.items()]


def test_images_alone_walk_the_whole_line_and_a_black_one_is_held_and_counted(images, tmp_path, capfd):
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for path in sorted(images.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(folder / "0003.png")
    assert main(["run", str(folder), "-o", str(out), "--quiet", "--set", *as_options(TINY)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["frames"], summary["skipped"], summary["held"]) == (6, {}, {"the image is black": 1})
    assert summary["points"] > 0
    assert summary["weights"] == {"cut3r-tiny": "UNTRAINED"}
    assert "UNTRAINED: cut3r-tiny has random weights" in capfd.readouterr().err
    places = np.loadtxt(out / "trajectory.tum")[:, 1:]
    assert (places[3] == places[2]).all()


def test_queries_carry_the_state_distribution_token(images):
    segmenter = build_segmenter(configured())
    for frame in open_source(str(images), max_frames=3):
        segmenter.step(frame)
    tokens = segmenter.state_dict()["store.instances.state_tokens"]
    assert tokens.shape[1] == 50  # one number per state token
    assert bool((tokens.sum(1) > 0).all())
    without = build_segmenter(configured(reconstruction__cut3r__attention="none"))
    for frame in open_source(str(images), max_frames=1):
        without.step(frame)
    assert "store.instances.state_tokens" not in without.state_dict()


@pytest.mark.parametrize("state", ["cut3r", "brake"])
def test_a_saved_map_goes_on_where_the_state_was(images, tmp_path, state):
    config = configured(reconstruction__cut3r__state=state)
    frames = list(open_source(str(images), max_frames=4))
    whole, first, second = (build_segmenter(config) for _ in range(3))
    for frame in frames[:2]:
        whole.step(frame)
        first.step(frame)
    save_map(tmp_path / "room.map", first, config)
    load_map(tmp_path / "room.map", second, config)
    for frame in frames[2:]:
        one, other = whole.step(frame), second.step(frame)
        assert torch.allclose(one.geometry.world_from_camera, other.geometry.world_from_camera, atol=1e-5)
        assert (one.instance_ids == other.instance_ids).float().mean() > 0.9  # products round by where their rows lie


def test_the_seed_makes_the_untrained_net_and_one_net_serves_all_stages():
    cpu = build_segmenter(configured()).device
    net = open_net("cut3r-tiny", "", False, "cut3r", 0, cpu)
    assert open_net("cut3r-tiny", "", False, "cut3r", 0, cpu) is net
    other = open_net("cut3r-tiny", "", False, "cut3r", 1, cpu)
    assert not other.pose_token.equal(net.pose_token)
    assert open_net("cut3r-tiny", "", False, "cut3r", 0, cpu).pose_token.equal(net.pose_token)


def test_missing_weights_are_named_with_the_command_that_gets_them(images, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path / "weights"))
    settings = ["reconstruction.kind=cut3r", "device=cpu"]
    assert main(["run", str(images), "-o", str(tmp_path / "out"), "--quiet", "--set", *settings]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert str(tmp_path / "weights") in line
    assert "moonseg3r weights get cut3r-512" in line
    assert "reconstruction.random=true" in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reconstruction__random": False}, "cut3r-tiny has no weights"),
        ({"reconstruction__cut3r__attention": "4"}, "a layer from 0 to 3, got '4'"),
        (
            {"reconstruction__random": False, "reconstruction__cut3r__weights": "no.pth"},
            r"no\.pth.* can be had; or set",
        ),
    ],
)
def test_settings_that_cannot_be_met_are_refused_in_words(settings, message):
    with pytest.raises(InputError, match=message):
        build_segmenter(configured(**settings))
