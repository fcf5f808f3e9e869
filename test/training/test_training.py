"""A whole training at toy size: the loss falls, a stopped run goes on exactly, signals end it, its net runs."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from cut3r_scripted import make_reconstruction
from training_toys import CPU, SIZES, TOY, read_table, written

from moonseg3r_core.cli import main
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.training.common import loop as run_module
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.log import TrainingLog
from moonseg3r_core.training.reconstruction import train as reconstruction
from moonseg3r_core.training.reconstruction.losses import Truth
from moonseg3r_core.training.reconstruction.optimizers import OPTIMIZERS
from moonseg3r_core.training.reconstruction.recipe import CurriculumStage
from moonseg3r_core.training.reconstruction.stream import ClipStream
from moonseg3r_core.training.reconstruction.train import ReconstructionRun, has_unused_parameters, train_reconstruction
from moonseg3r_core.training.reconstruction.unroll import UnrolledNet, compute_losses

MUON = replace(TOY, optimizer="muon")
has_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9")


def run_of(recipe, folder, precision="32-true"):
    return ReconstructionRun(make_fabric("cpu", precision, recipe.seed), recipe, folder)


def some_batches(recipe, count):
    return list(islice(ClipStream(recipe, torch.device("cpu"), workers=0), count))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of the toy run without a stop."""
    return train_reconstruction(TOY, tmp_path_factory.mktemp("whole"), **CPU).read_bytes()


def test_the_rate_climbs_then_falls_as_a_cosine():
    recipe = replace(TOY, stages=(CurriculumStage(110, 2, 2),), warmup=10, rate=2.0, last=0.1)
    rates = [recipe.compute_rate(step) for step in range(111)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[110] == pytest.approx(0.2)


def test_matrices_decay_and_nothing_else_does():
    net = Cut3r(SIZES)
    (adamw,) = OPTIMIZERS["adamw"](net, 1e-3, 0.05)
    decaying, others = (group["params"] for group in adamw.param_groups)
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.05, 0]
    assert all(parameter.dim() > 1 for parameter in decaying)
    assert any(parameter is net.pose_token for parameter in others)
    assert sorted(map(id, decaying + others)) == sorted(map(id, net.parameters()))


@has_muon
def test_muon_takes_the_matrices_and_adamw_the_rest():
    net = Cut3r(replace(SIZES, head="dpt"))
    first, second = OPTIMIZERS["muon"](net, 1e-3, 0.05)
    (matrices,), (kernels, rest) = first.param_groups, second.param_groups
    assert isinstance(first, torch.optim.Muon)
    assert isinstance(second, torch.optim.AdamW)
    assert {parameter.dim() for parameter in matrices["params"]} == {2}
    assert {parameter.dim() for parameter in kernels["params"]} == {4}
    assert [group["weight_decay"] for group in (matrices, kernels, rest)] == [0.05, 0.05, 0]
    taken = [id(parameter) for group in (matrices, kernels, rest) for parameter in group["params"]]
    assert sorted(taken) == sorted(map(id, net.parameters()))


def optimizer_of(run, parameter):
    return next(o for o in run.optimizers if any(parameter is p for group in o.param_groups for p in group["params"]))


@has_muon
def test_gradients_of_all_optimizers_are_looked_at_and_cut_together(tmp_path):
    run, (batch,) = run_of(replace(MUON, clip_norm=1e-3), tmp_path), some_batches(TOY, 1)
    matrix, bias = (
        next(p for p in run.net.parameters() if p.requires_grad and p.dim() == dim and p.numel() > 8) for dim in (2, 1)
    )
    assert optimizer_of(run, matrix) is not optimizer_of(run, bias)
    before = [parameter.detach().clone() for parameter in run.net.parameters()]
    for parameter in (matrix, bias):
        hook = parameter.register_hook(lambda gradient: gradient * float("nan"))
        run.advance(batch)
        hook.remove()
        assert all(map(torch.equal, before, run.net.parameters()))
    norms = []
    run.optimizers[0].register_step_pre_hook(
        lambda *_: norms.extend(p.grad.norm() for p in run.net.parameters() if p.grad is not None)
    )
    run.advance(batch)
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("recipe", [TOY, pytest.param(MUON, marks=has_muon)], ids=lambda recipe: recipe.optimizer)
def test_the_loss_falls(tmp_path, recipe):
    run = run_of(replace(recipe, stages=(CurriculumStage(100, 2, 2),)), tmp_path)
    (batch,) = some_batches(TOY, 1)
    truth = Truth.from_depth(batch.depth, batch.intrinsics, batch.poses)
    before = compute_losses(run.net(batch.views), truth)["total"].item()
    for _ in range(8):
        run.advance(batch)
    assert compute_losses(run.net(batch.views), truth)["total"].item() < 0.7 * before


def test_a_run_that_stopped_goes_on_exactly(tmp_path, whole):
    run = run_of(TOY, tmp_path)
    for batch in some_batches(TOY, 3):
        run.advance(batch)
    run.save()
    assert (tmp_path / "weights.safetensors").read_bytes() != whole
    assert train_reconstruction(TOY, tmp_path, **CPU).read_bytes() == whole


@has_muon
def test_a_muon_run_that_stopped_goes_on_exactly(tmp_path):
    recipe = replace(MUON, stages=(CurriculumStage(2, 2, 2),))
    straight = train_reconstruction(recipe, tmp_path / "straight", **CPU).read_bytes()
    train_reconstruction(recipe, tmp_path / "stopped", until=0, **CPU)
    assert train_reconstruction(recipe, tmp_path / "stopped", **CPU).read_bytes() == straight


def test_a_run_out_of_time_saves_where_it_stands(tmp_path):
    train_reconstruction(TOY, tmp_path, until=0, **CPU)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 1
    assert not (tmp_path / "heldout.csv").exists(), "no room is held out"


def test_ctrl_c_saves_after_the_step_and_the_run_goes_on_from_there(tmp_path, monkeypatch, capsys, whole):
    made, advance = [], ReconstructionRun.advance

    def interrupted(run, batch):
        made.append(run.step)
        if len(made) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        advance(run, batch)

    monkeypatch.setattr(ReconstructionRun, "advance", interrupted)
    command = [
        "train", "reconstruction", str(written(tmp_path / "toy.yaml")), "-o", str(tmp_path / "out"),
        "--workers", "0", "--device", "cpu", "--precision", "32-true",
    ]  # fmt: skip
    assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1:] == ["moonseg3r: interrupted"]
    assert torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["step"] == 3
    assert main(command) == 0
    assert made == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == whole
    assert main(command) == 0
    assert "has made all 6 steps" in capsys.readouterr().out
    assert len(made) == 6


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "_EVERY", 3)
    run = run_of(TOY, tmp_path)
    good, bad, other = some_batches(TOY, 3)
    run.advance(good)
    weights = [parameter.detach().clone() for parameter in run.net.parameters()]
    run.advance(replace(bad, views=bad.views * float("nan")))
    assert all(map(torch.equal, weights, run.net.parameters()))
    run.advance(other)
    (row,) = read_table(tmp_path / "steps.csv")
    assert row["skipped"] == "1"
    assert 0 < float(row["total"]) < 100
    assert "skipped 1" in capsys.readouterr().out


def test_truth_keeps_float32_whatever_the_net_computes_in(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        reconstruction, "compute_losses", lambda said, truth: seen.append((said, truth)) or compute_losses(said, truth)
    )
    (batch,) = some_batches(TOY, 1)
    run_of(TOY, tmp_path, "bf16-mixed").advance(batch)
    ((said, truth),) = seen
    exact = Truth.from_depth(batch.depth, batch.intrinsics, batch.poses)
    for name in ("self_points", "world_points", "poses", "length"):
        assert getattr(truth, name).dtype == torch.float32
        assert torch.equal(getattr(truth, name), getattr(exact, name))
    with torch.no_grad():
        plain = UnrolledNet(run_of(TOY, tmp_path / "other").net.module.net)(batch.views)["self_points"]
    assert not torch.equal(said["self_points"], plain), "the net was to compute in bfloat16"


@pytest.mark.parametrize(("head", "window"), [("linear", 2), ("linear", 1), ("dpt", 2)])
def test_what_takes_no_part_in_a_step_is_known(head, window):
    recipe = replace(TOY, sizes=replace(SIZES, head=head), stages=(CurriculumStage(1, window, 1),), rooms=1)
    net, (batch,) = Cut3r(recipe.sizes), some_batches(recipe, 1)
    truth = Truth.from_depth(batch.depth, batch.intrinsics, batch.poses)
    compute_losses(UnrolledNet(net)(batch.views), truth)["total"].backward()
    assert has_unused_parameters(recipe) == any(parameter.grad is None for parameter in net.parameters())


def test_lines_of_steps_that_are_made_again_go(tmp_path):
    steps, held = tmp_path / "steps.csv", tmp_path / "heldout.csv"
    steps.write_text("step,total\n50,1.5\n100,1.25\n150,1.1\n200,0.")
    held.write_text("step,abs_rel\n100,0.5\n200,0.4\n")
    TrainingLog(tmp_path, enabled=False).drop_rows_after(100)
    assert len(read_table(steps)) == 4
    TrainingLog(tmp_path, enabled=True).drop_rows_after(100)
    assert [row["step"] for row in read_table(steps)] == ["50", "100"]
    assert [row["step"] for row in read_table(held)] == ["100"]


def test_a_file_of_older_columns_gets_the_new_ones(tmp_path):
    (tmp_path / "heldout.csv").write_text("step,old\n50,1.5\n")
    TrainingLog(tmp_path, enabled=True).log_scores(100, {"new": 2.0, "old": 3.0})
    TrainingLog(tmp_path, enabled=True).log_scores(150, {"new": 2.5})
    assert read_table(tmp_path / "heldout.csv") == [
        {"step": "50", "old": "1.5", "new": ""}, {"step": "100", "old": "3", "new": "2"},
        {"step": "150", "old": "", "new": "2.5"},
    ]  # fmt: skip


def test_the_command_trains_a_net_that_the_package_runs(tmp_path, capsys):
    recipe, out = written(tmp_path / "toy.yaml", held=1), tmp_path / "out"
    command = ["train", "reconstruction", str(recipe), "-o", str(out), "--workers", "1", "--seed", "7"]
    assert main(command) == 0
    assert str(out / "weights.safetensors") in capsys.readouterr().out
    assert [row["step"] for row in read_table(out / "heldout.csv")] == ["4", "6"]
    net = load_cut3r(out / "weights.safetensors")
    assert net.sizes == SIZES
    room, walk = make_reconstruction(net), SyntheticSequence(3, 8, 48, 64)
    for index in range(2):
        geometry = room(walk[index])
        assert geometry.points.isfinite().all()
    assert not geometry.held


TWO = """
import os, sys
from dataclasses import replace
from pathlib import Path
import torch
from training_toys import SIZES, TOY
from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.reconstruction.optimizers import OPTIMIZERS
from moonseg3r_core.training.reconstruction.stream import ClipStream
from moonseg3r_core.training.reconstruction.recipe import CurriculumStage
from moonseg3r_core.training.reconstruction.train import ReconstructionRun, has_unused_parameters
import lightning_fabric

child = os.fork()  # so that torch is imported once
os.environ |= {"RANK": str(int(not child)), "LOCAL_RANK": str(int(not child))}
torch.set_num_threads(1)
recipe = replace(TOY, sizes=replace(SIZES, head="dpt"), stages=(CurriculumStage(1, 1, 2), CurriculumStage(1, 2, 2)))
out, fabric = Path(sys.argv[1]), make_fabric("cpu", "32-true", recipe.seed, has_unused_parameters(recipe))
run = ReconstructionRun(fabric, recipe, out / "run")
batches = list(ClipStream(recipe, fabric.device, 0, 0, fabric.global_rank, fabric.world_size))
run.train(iter(batches), None, 0.0 if fabric.is_global_zero else float("inf"))  # clocks that do not agree
steps = [run.step]
run.train(iter(batches[1:]), None, float("inf"))
steps.append(run.step)
views = batches[0].views
torch.save((views, steps, run.net.state_dict(), run.averaged.state_dict()), out / f"{fabric.global_rank}.pt")
sys.exit(child and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_two_processes_end_together_with_equal_weights(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = Path(__file__).parents[1]
    torchrun = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torchrun |= {"TORCHELASTIC_RUN_ID": "toy", "PYTHONPATH": f"{tests / 'helpers'}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    both = subprocess.run(command, env=os.environ | torchrun, capture_output=True, text=True, timeout=300, check=False)
    assert both.returncode == 0, both.stderr[-3000:]
    (views, steps, net, average), (other_views, other_steps, other_net, other_average) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert not torch.equal(views, other_views)
    assert steps == other_steps == [1, 2]
    assert all(torch.equal(net[name], other_net[name]) for name in net)
    assert all(torch.equal(average[name], other_average[name]) for name in average)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["step"] == 2
