"""CUT3R against the original: outputs on golden sequences, names and shapes of its checkpoints, exit statuses of the tools."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES

safetensors = pytest.importorskip("safetensors.torch", reason="the package safetensors reads the golden sequences")

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT.parent / "shared" / "parity" / "cut3r"
FOLDERS = sorted(file.parent for file in GOLDEN.glob("*/config.json"))
LONG = [(FOLDERS[-1], name) for name in ("plain", "portrait")] if FOLDERS else []  # the first net walks these anyway
CASES = [
    pytest.param(folder, file.stem, id=f"{folder.name}-{file.stem}", marks=[pytest.mark.slow] * ((folder, file.stem) in LONG))
    for folder in FOLDERS for file in sorted(folder.glob("*.safetensors")) if file.stem != "model"
]  # fmt: skip
needs_golden = pytest.mark.skipif(not FOLDERS, reason="no shared/parity/cut3r beside the repository")


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tool, beside = load("parity_cut3r"), load("compare_cut3r")


def read_manifest(size):
    return {name: shape for name, (shape, _) in json.loads((GOLDEN / f"{size}_state_dict.json").read_text()).items()}


@needs_golden
@pytest.mark.parametrize(("folder", "name"), CASES)
def test_every_tensor_of_a_golden_sequence_is_ours_and_none_is_passed_over(folder, name):
    rows = tool.compare(folder, name)
    assert [row for row in rows if not row.holds] == []
    golden = {
        key.partition("/")[2] if key[0].isdigit() else key
        for key in safetensors.load_file(folder / f"{name}.safetensors")
    }
    outside = {key for key in golden if key.startswith("in/")} | set(tool.list_left_out(folder, name))
    assert {row.name for row in rows} == golden - outside
    assert bool(tool.list_left_out(folder, name)) == (name == "raymap")


@needs_golden
@pytest.mark.parametrize(("sequence", "taken_for"), [("plain_halfrope", "plain"), ("ttt3r_plain", "plain")])
def test_the_verdict_tells_the_options_apart(sequence, taken_for, tmp_path):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(FOLDERS[0] / file)
    (tmp_path / f"{taken_for}.safetensors").symlink_to(FOLDERS[0] / f"{sequence}.safetensors")
    off = {row.name for row in tool.compare(tmp_path, taken_for) if not row.holds}
    assert {"out/camera_pose", "after/state"} <= off


@needs_golden
def test_one_weight_that_is_off_is_found_and_told(tmp_path, capsys):
    shutil.copy(FOLDERS[0] / "config.json", tmp_path)
    golden = safetensors.load_file(FOLDERS[0] / "portrait.safetensors")
    first = {key: value for key, value in golden.items() if key.startswith(("0/", "init/"))}
    safetensors.save_file(first, tmp_path / "portrait.safetensors")
    weights = safetensors.load_file(FOLDERS[0] / "model.safetensors")
    weights["dec_blocks_state.1.cross_attn.projk.weight"] *= 1.1
    safetensors.save_file(weights, tmp_path / "model.safetensors")
    assert tool.main([str(tmp_path)]) == 1
    verdicts = {line.split()[0]: line.split()[2] for line in capsys.readouterr().out.splitlines() if line[0] == " "}
    assert verdicts["int/dec_state.1"] == "holds"  # the layer before
    assert {verdicts[name] for name in ("int/dec_state.2", "int/state_cross_attn", "after/state")} == {"DIFFERS"}


@needs_golden
def test_the_tool_answers_0_for_a_folder_that_holds_and_2_for_one_of_another_layout(tmp_path, capsys):
    for file in ("config.json", "model.safetensors", "reset.safetensors"):
        shutil.copy(FOLDERS[-1] / file, tmp_path)
    assert tool.main([str(tmp_path)]) == 0
    assert tool.main([str(tmp_path), "--tolerance", "1e-12"]) == 1
    (tmp_path / "config.json").write_text("{}")
    assert tool.main([str(tmp_path)]) == 2
    assert "config.json must hold the constructor's values" in capsys.readouterr().err
    assert tool.main([str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_point_may_be_mirrored_where_z_passes_zero_and_nowhere_else():
    golden = torch.tensor([[1.0, 2.0, 1e-5], [1.0, 2.0, 3.0]])
    assert tool.compute_mirrored_difference(golden, golden) == (0.0, 0)
    worst, mirrored = tool.compute_mirrored_difference(golden, golden * torch.tensor([[-1.0], [1.0]]))
    assert (worst, mirrored) == (0.0, 1)
    worst, mirrored = tool.compute_mirrored_difference(golden, -golden)
    assert (worst, mirrored) == (6.0, 1)
    assert tool.compute_mirrored_difference(golden, golden + torch.tensor([0.5, 0.0, 0.0]))[0] == 0.5


def test_what_is_no_number_or_of_another_shape_never_holds():
    assert tool.compute_difference(torch.zeros(2), torch.tensor([0.0, float("nan")])) == float("inf")
    assert tool.compute_difference(torch.zeros(2), torch.zeros(1)) == float("inf")


@needs_golden
@pytest.mark.parametrize(("size", "manifest"), [("cut3r-512", "cut3r_512_dpt"), ("cut3r-224", "cut3r_224_linear")])
def test_names_and_shapes_are_those_of_the_official_checkpoints(size, manifest):
    with torch.device("meta"):
        net = Cut3r(SIZES[size], rgb_head=True, ray_encoder=True)
    ours = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    assert ours == read_manifest(manifest)


def test_beside_the_original_both_nets_get_the_same_weights_by_name():
    lean, whole = (beside.fill(Cut3r(SIZES["cut3r-tiny"], rgb_head=rgb)).state_dict() for rgb in (False, True))
    assert lean.keys() < whole.keys()
    assert all(tensor.equal(whole[name]) for name, tensor in lean.items())
    assert not lean["dec_blocks.0.attn.proj.weight"].equal(lean["dec_blocks.1.attn.proj.weight"])


def test_the_stand_in_turns_heads_by_their_own_positions():
    positions = torch.tensor([[[-1, -1], [0, 3], [2, 1]]]).expand(2, -1, -1)
    tokens, stand_in = torch.randn(2, 4, 3, 8), beside.StandIn()
    turned = stand_in(tokens, positions)
    assert turned[:, 2, 1:2].equal(stand_in(tokens[:, 2:3, 1:2], positions[:, 1:2])[:, 0])
    assert stand_in(turned, -positions).allclose(tokens, atol=1e-5)


def test_what_is_no_clone_of_the_original_is_said(tmp_path):
    with pytest.raises(beside.InputError, match="must hold src/dust3r"):
        beside.make_original(SIZES["cut3r-tiny"], tmp_path)
