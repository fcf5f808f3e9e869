"""Input that a training refuses in one line, before it renders anything."""

import os
import pickle
from contextlib import suppress
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from damage import damaged
from hypothesis import given, settings
from torch import nn
from training_toys import CPU, TOY, written

from moonseg3r_core.cli import main
from moonseg3r_core.errors import ConfigError, InputError, MissingDependency, OutputError
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.training.common.checkpoint import read_last, write_last
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.recipe import read_recipe
from moonseg3r_core.training.reconstruction.recipe import ReconstructionRecipe
from moonseg3r_core.training.reconstruction.speed import compile_blocks
from moonseg3r_core.training.reconstruction.train import train_reconstruction

LAST = "last.ckpt"


def edited(tmp_path, **changes):
    """Write the toy recipe with some settings replaced by any values (None: removed)."""
    values = {name: value for name, value in {**asdict(TOY), **changes}.items() if value is not None}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_recipe_is_what_was_written(tmp_path):
    assert read_recipe(ReconstructionRecipe, written(tmp_path / "toy.yaml")) == TOY


@pytest.mark.parametrize("path", ["train_nano.yaml", "train_nano_gpu.yaml"])
def test_the_recipes_that_are_shipped_are_sound(path, pytestconfig):
    recipe = read_recipe(ReconstructionRecipe, pytestconfig.rootpath / "config" / path)
    assert recipe.steps > recipe.warmup
    size = sum(p.numel() for p in Cut3r(recipe.sizes).parameters())
    assert 2 * size < 25e6, "nano is to be a file of at most 25 MB of float16"


@pytest.mark.parametrize("written", ["8e-4", "0.0008", " 8.e-4"])
def test_numbers_may_be_written_as_text(tmp_path, written):
    """YAML 1.1 reads 8e-4, which has no point, as text."""
    path = edited(tmp_path)
    path.write_text(path.read_text().replace("rate: 0.001", f"rate: {written}"))
    assert read_recipe(ReconstructionRecipe, path).rate == 8e-4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rooms": "many"}, "rooms must be a whole number >= 1 and <= 1e+09, got 'many'"),
        ({"rooms": True}, "rooms must be a whole number >= 1 and <= 1e+09, got True"),
        ({"rate": float("nan")}, "rate must be a number >= 0 and <= 1, got nan"),
        ({"rate": None, "rat": 1e-3}, "unknown key 'rat'; did you mean 'rate'?"),
        ({"stages": None}, "stages is missing; give the curriculum"),
        ({"stages": 3}, "stages must be a list, got 3"),
        ({"stages": []}, "stages must be one or more"),
        ({"stages": [{"steps": 1, "window": 2}]}, "stages[0].batch is missing"),
        ({"stages": [{"steps": 1, "window": 9, "batch": 1}]}, "windows of 1 to 4 frames (clip)"),
        ({"stages": [{"steps": 1, "window": 2, "batch": 9}]}, "rooms must be as many as the largest batch"),
        ({"sizes": {"enc_dims": 3}}, "unknown key 'sizes.enc_dims'; did you mean 'sizes.enc_dim'?"),
        ({"sizes": {"enc_dim": 30, "enc_heads": 4}}, "enc_dim must be a multiple of 4 x 4 (enc_heads), got 30"),
        ({"sizes": {"head": 3}}, "sizes.head must be text, got 3"),
        ({"height": 40}, "multiples of 16, got 40 x 48"),
        ({"height": 0}, "height must be a whole number >= 16"),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, muon, got 'sgd'"),
        ({"seed": 1000}, "seed must be a whole number >= 0 and <= 999, got 1000"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError) as refused:
        read_recipe(ReconstructionRecipe, edited(tmp_path, **changes))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["rate: [", "a: b: c", "just words", "- 1\n- 2", "", "\0", "\udcff"])
def test_a_file_that_is_no_recipe_is_refused_in_a_line(tmp_path, content, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert main(["train", "reconstruction", str(path), "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_a_seed_out_of_range_is_refused_first(tmp_path, capsys):
    recipe = str(written(tmp_path / "toy.yaml"))
    assert main(["train", "reconstruction", recipe, "-o", str(tmp_path / "out"), "--seed", "1000"]) == 2
    assert "seed must be a whole number >= 0 and <= 999" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="cannot write the folder"):
        train_reconstruction(TOY, tmp_path / "out", **CPU)


def test_another_recipe_does_not_go_on(tmp_path):
    write_last(tmp_path / LAST, TOY, 3, net={}, average={}, optimizer_0={})
    with pytest.raises(InputError, match="got one with another rate, sizes; give the recipe") as refused:
        train_reconstruction(replace(TOY, rate=0.5, sizes=replace(TOY.sizes, enc_dim=64)), tmp_path, **CPU)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("damage", ["cut", "words", "folder", "others", "listed", "unlike", "part"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / LAST
    write_last(path, TOY, 3, net={"a": torch.zeros(1000)})
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "others":
        torch.save([1, 2], path)
    elif damage in ("listed", "unlike", "part"):
        recipe = {"listed": [1], "unlike": {"rate": torch.zeros(3)}, "part": asdict(TOY)}[damage]
        torch.save({"step": 3, "recipe": recipe, "net": 5 if damage == "part" else {}}, path)
    else:
        path.write_bytes(path.read_bytes()[:700] if damage == "cut" else b"words")
    with pytest.raises(InputError, match="must be a whole checkpoint of this command") as refused:
        read_last(path, TOY, "net")
    assert len(str(refused.value).splitlines()) == 1


def test_a_checkpoint_damaged_anywhere_is_read_or_refused_in_a_line(tmp_path):
    write_last(tmp_path / "whole", TOY, 3, net={"a": torch.zeros(5)})

    @settings(max_examples=100, deadline=None)
    @given(damaged((tmp_path / "whole").read_bytes()))
    def check(content):
        (tmp_path / LAST).write_bytes(content)
        with suppress(InputError):
            read_last(tmp_path / LAST, TOY, "net")

    check()


def test_a_checkpoint_of_another_net_is_refused(tmp_path):
    write_last(tmp_path / LAST, TOY, 3, net={"a": torch.zeros(1)}, average={}, optimizer_0={})
    with pytest.raises(InputError, match="must hold this recipe's net, got another") as refused:
        train_reconstruction(TOY, tmp_path, **CPU)
    assert len(str(refused.value).splitlines()) == 1


class Harm:
    """A pickle of this makes whoever loads it make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    pickle.loads(pickle.dumps(Harm(tmp_path / "by pickle")))
    assert (tmp_path / "by pickle").exists()
    torch.save({"recipe": Harm(tmp_path / "harm")}, tmp_path / LAST)
    with pytest.raises(InputError, match="must be a whole checkpoint"):
        read_last(tmp_path / LAST, TOY)
    assert not (tmp_path / "harm").exists()


def test_weights_to_begin_with_must_be_of_the_recipes_sizes(tmp_path):
    train_reconstruction(TOY, tmp_path / "first", **CPU, until=0)
    other = replace(TOY, sizes=replace(TOY.sizes, state_size=6))
    with pytest.raises(InputError, match="must have the recipe's sizes"):
        train_reconstruction(other, tmp_path / "second", start=tmp_path / "first" / "weights.safetensors", **CPU)


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cuda needs a GPU"):
        make_fabric("cuda", "auto", 0)


def test_muon_needs_a_torch_that_has_it(monkeypatch, tmp_path):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(
        MissingDependency, match=r"optimizer: muon needs torch 2\.9 or newer, got .*; say adamw\."
    ) as refused:
        train_reconstruction(replace(TOY, optimizer="muon"), tmp_path, **CPU)
    assert len(str(refused.value).splitlines()) == 1


def test_compiling_needs_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(MissingDependency, match="needs a C\\+\\+ compiler"):
        compile_blocks(nn.Identity())


@pytest.mark.parametrize("name", ["recompile_limit", "cache_size_limit"])
def test_many_variants_are_allowed_under_the_name_that_torch_gives_it(monkeypatch, tmp_path, name):
    compiler = tmp_path / "c++"
    compiler.touch(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    known = SimpleNamespace(**{name: 8})
    import torch._dynamo

    monkeypatch.setattr(torch._dynamo, "config", known)
    compile_blocks(nn.Identity())
    assert vars(known) == {name: 64}
