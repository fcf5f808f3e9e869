"""`reconstruction.kind=nano`, the default: color alone, with weights that come with the package."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from nano_file import SIZES, write_nano
from PIL import Image

from moonseg3r_core import build_segmenter, load_config
from moonseg3r_core.build import hash_weights, make_stage
from moonseg3r_core.cli import main
from moonseg3r_core.errors import ConfigError, InputError, SourceError
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.resolve import check_recording, required_inputs, resolve, usage_hint
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.weights.embedded import EMBEDDED
from moonseg3r_core.weights.store import compute_sha256

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = EMBEDDED["nano"]
QUERIES = {"nano_queries": compute_sha256(EMBEDDED["nano_queries"])}
LARGEST = 25_000_000  # bytes
ALL = ("depth", "intrinsics", "poses")
FRAMES = list(SyntheticSequence(7, frames=3, height=96, width=128))
BLIND = [dataclasses.replace(f, depth=None, intrinsics=None, world_from_camera=None) for f in FRAMES]


def configured(**settings):
    base = {
        "device": "cpu",
        "masks.kind": "regions",
        "masks.regions.width": 64,
        "reconstruction.nano.pose": "model",  # a net of random numbers sees no depth to track by
    }
    return load_config(overrides=base | {name.replace("__", "."): value for name, value in settings.items()})


def net_of(config):
    return make_stage("reconstruction", config).net


@pytest.mark.usefixtures("stand_in")
def test_the_default_is_nano_and_color_alone_is_enough():
    segmenter = build_segmenter(configured())
    results = [segmenter.step(frame) for frame in BLIND]
    assert net_of(configured()).sizes == SIZES
    assert all(result.geometry.valid.any() and not result.geometry.held for result in results)
    assert results[0].geometry.state_attention.shape == (20, 3, 4)
    assert len(segmenter.snapshot()) > 0


@pytest.mark.usefixtures("stand_in")
def test_depth_and_poses_are_not_looked_at():
    one, other = build_segmenter(configured()), build_segmenter(configured())
    for frame in FRAMES:
        lost = dataclasses.replace(frame, depth=frame.depth * 9, world_from_camera=torch.eye(4, dtype=torch.float64))
        assert one.step(frame).geometry.points.equal(other.step(lost).geometry.points)


@pytest.mark.usefixtures("stand_in")
def test_half_precision_in_the_file_is_float32_in_the_net():
    assert {p.dtype for p in net_of(configured()).parameters()} == {torch.float32}


def test_other_weights_take_the_place_of_the_embedded_ones(tmp_path):
    larger = dataclasses.replace(SIZES, enc_dim=64)
    file = write_nano(tmp_path / "mine.safetensors", larger)
    config = configured(reconstruction__nano__weights=str(file))
    assert net_of(config).sizes == larger
    assert hash_weights(resolve(config)) == QUERIES | {str(file): compute_sha256(file)}


@pytest.mark.usefixtures("stand_in")
def test_a_random_net_has_the_sizes_that_its_file_says():
    config = configured(reconstruction__random=True)
    net = net_of(config)
    assert net.sizes == SIZES
    assert not net.pose_token.equal(net_of(configured()).pose_token)
    assert hash_weights(resolve(config)) == QUERIES | {"nano": "UNTRAINED"}


@pytest.mark.usefixtures("stand_in")
def test_features_may_be_the_tokens_of_its_encoder_which_runs_once(monkeypatch):
    segmenter = build_segmenter(configured(features__kind="reconstruction"))
    encode, encoded = Cut3r.encode, []
    monkeypatch.setattr(Cut3r, "encode", lambda self, image: encoded.append(encode(self, image)) or encoded[-1])
    segmenter.step(BLIND[0])
    result = segmenter.step(BLIND[1])
    assert len(encoded) == 2
    assert result.geometry.image_features.features.shape == (3, 4, 32)
    assert result.geometry.image_features.features.flatten(0, 1).equal(encoded[1].features[0])
    queries = segmenter.state_dict()["store.instances.features"]
    assert queries.shape[1] == 160 + 32  # F3d, where the points lie, and F2d


def test_features_of_an_encoder_that_is_not_there_are_refused():
    with pytest.raises(ConfigError, match=r"expects a reconstruction with a net \(nano, cut3r\), got .*kind=rgbd"):
        build_segmenter(configured(reconstruction__kind="rgbd", features__kind="reconstruction"))


def test_images_alone_are_enough_and_what_else_there_is_is_told_of():
    exact = configured(reconstruction__kind="rgbd")
    assert (required_inputs(configured()), required_inputs(exact)) == ((), ("depth", "intrinsics", "poses"))
    check_recording(configured(), "walk.mp4", ALL)
    with pytest.raises(SourceError, match=r"or set reconstruction\.kind=nano, which needs none"):
        check_recording(exact, "walk.mp4", ALL)
    assert "room brings depth and poses" in usage_hint(configured(), "room", ())
    assert "reconstruction.kind=rgbd" in usage_hint(configured(), "room", ())
    assert usage_hint(configured(), "room", ("poses",)) == usage_hint(exact, "room", ()) == ""


def test_given_poses_are_needed_when_they_are_asked_for():
    config = configured(reconstruction__nano__pose="given")
    assert required_inputs(config) == ("poses",)
    with pytest.raises(SourceError, match=r"set reconstruction\.nano\.pose=model, which needs none"):
        check_recording(config, "walk.mp4", ALL)


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "nano expects its weights at {file}, .*got no file; install moonseg3r again"),
        (cut, "{file} must be a whole safetensors file, got a damaged one .*package: install moonseg3r again"),
        (lambda file: file.write_bytes(b""), "{file} must be a whole safetensors file.*install moonseg3r again"),
    ],
)
def test_an_installation_without_whole_weights_says_so_in_one_line(stand_in, tmp_path, capfd, damage, said):
    damage(stand_in)
    with pytest.raises(InputError, match=said.format(file=stand_in)):
        build_segmenter(configured())
    assert main(["run", "synthetic:7:3", "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_run_on_images_alone(tmp_path, capfd):
    file, images, out = write_nano(tmp_path / "nano.safetensors"), tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for frame in FRAMES:
        Image.fromarray(frame.image.numpy()).save(images / f"{frame.index:04d}.png")
    settings = [f"reconstruction.nano.weights={file}", "reconstruction.nano.pose=model", "device=cpu"]
    settings.append("masks.kind=regions")
    assert main(["run", str(images), "-o", str(out), "--quiet", "--set", *settings]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["frames"], summary["skipped"], summary["held"]) == (3, {}, {})
    assert summary["weights"] == QUERIES | {str(file): compute_sha256(file)}
    assert len(np.loadtxt(out / "trajectory.tum")) == 3
    assert "net's unit" in (out / "report.html").read_text()
    assert "rgbd" not in capfd.readouterr().err


@pytest.fixture
def built(tmp_path):
    """A copy of what a distribution is made of, with a stand-in of the weights, and a function that runs its setup.py."""
    for name in ("moonseg3r_core", "moonseg3r_ros"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    write_nano(tmp_path / "moonseg3r_core/weights/nano.safetensors")

    def build(*words):
        subprocess.run([sys.executable, "setup.py", "-q", *words], cwd=tmp_path, check=True, capture_output=True)
        return tmp_path

    return build


@pytest.mark.slow
def test_an_installed_package_finds_its_weights(built):
    place = built("build_py", "--build-lib", "installed") / "installed"
    code = "from moonseg3r_core.weights import find; from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r; load_cut3r(find('nano')); print(find('nano'))"
    environment = os.environ | {"PYTHONPATH": str(place)}
    told = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == str(place / "moonseg3r_core/weights/nano.safetensors"), told.stderr
    assert (place / "moonseg3r_core/weights/nano.md").exists()


def test_a_source_distribution_holds_them_too(built):
    (archive,) = (built("sdist", "--formats", "gztar") / "dist").iterdir()
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"moonseg3r_core/weights/nano.safetensors", "moonseg3r_core/weights/nano.md"} <= names


@pytest.mark.skipif(not SHIPPED.exists(), reason=f"{SHIPPED.name} is not trained yet")
def test_the_shipped_weights_load_strictly_and_walk():
    assert SHIPPED.stat().st_size <= LARGEST
    segmenter = build_segmenter(load_config(overrides={"device": "cpu"}))
    results = [segmenter.step(frame) for frame in SyntheticSequence(7, 120)[:3]]
    assert all(result.geometry.valid.any() and not result.geometry.held for result in results)
    assert hash_weights(resolve(load_config(overrides={"masks.kind": "regions"}))) == QUERIES | {
        name: compute_sha256(EMBEDDED[name]) for name in ("nano", "multi_view")
    }
    assert SHIPPED.with_suffix(".md").read_text().startswith("# nano")
