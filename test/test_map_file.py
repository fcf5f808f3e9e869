"""Map files: a map is the same after loading, a damaged file is refused, a crash leaves the former file."""

import errno
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import safetensors.torch
import torch
from walks import EAGER, EXACT, configured, make_segmenter, split, walk

from moonseg3r_core.config import load_config
from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.map_file import load_map, save_map

PATH = [(0.01 * t - 0.1, 0.0, 0.0) for t in range(10)]
CONFIG = configured(**EAGER)
HERE = Path(__file__).parent


@cache  # the same walk gives queries that differ in the last bit where memory is aligned otherwise
def mapped(frames=7):
    """A segmenter after some frames; not to be changed."""
    segmenter, given = make_segmenter(**EAGER)
    walk(segmenter, given, PATH[:frames], split)
    return segmenter


def same(one, two):
    """Whether two segmenters know the same to the last bit."""
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(one[n].numpy().tobytes() == two[n].numpy().tobytes() for n in one)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a file."""
    path = tmp_path_factory.mktemp("saved") / "map.safetensors"
    save_map(path, mapped(), CONFIG, {"map_frame": "map"})
    return path.read_bytes()


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "map.safetensors"
    path.write_bytes(content)
    return path


@cache
def running():
    """Another segmenter, whose map no refused file may change."""
    segmenter, masks = make_segmenter(**EAGER)
    segmenter.load_state_dict(mapped(9).state_dict())
    return segmenter, masks


def rewritten(file, facts=None, **tensors):
    """The same file with other facts or tensors in it; None takes one out."""
    with safetensors.safe_open(file, "pt") as opened:
        old = opened.metadata()
    state = safetensors.torch.load_file(file) | tensors
    facts = {name: fact for name, fact in (old | (facts or {})).items() if fact is not None}
    file.write_bytes(safetensors.torch.save({n: t for n, t in state.items() if t is not None}, facts))


def test_a_walk_goes_on_from_a_file(file):
    (never, given), (again, masks) = make_segmenter(**EAGER), make_segmenter(**EAGER)
    never.load_state_dict(mapped().state_dict())
    assert load_map(file, again, CONFIG) == {"map_frame": "map"}
    assert same(again, mapped())
    for (a, _), (b, _) in zip(
        walk(never, given, PATH[7:], split, start=7), walk(again, masks, PATH[7:], split, start=7), strict=True
    ):
        assert a.instance_ids.equal(b.instance_ids)
    assert never.final_ids == again.final_ids != {}


def test_an_empty_map_and_no_notes(tmp_path):
    save_map(tmp_path / "new folder" / "map", make_segmenter()[0], CONFIG)
    segmenter, _ = make_segmenter(**EAGER)
    segmenter.load_state_dict(mapped().state_dict())
    assert load_map(tmp_path / "new folder" / "map", segmenter, CONFIG) == {}
    assert len(segmenter.snapshot()) == 0


def test_the_file_is_plain_safetensors(file):
    with safetensors.safe_open(file, "pt") as opened:
        facts = opened.metadata()
        assert torch.equal(opened.get_tensor("store.map.sums"), mapped().state_dict()["store.map.sums"])
    assert facts["moonseg3r_map"] == "2"
    assert json.loads(facts["config"])["map"]["voxel"] == 0.02


def test_saving_again_takes_the_place_and_leaves_nothing_else(file):
    stale = file.with_name(".map.safetensors.part")
    stale.write_bytes(b"left by a process that was killed")
    save_map(file, mapped(9), CONFIG)
    assert list(file.parent.iterdir()) == [file]
    again, _ = make_segmenter(**EAGER)
    load_map(file, again, CONFIG)
    assert same(again, mapped(9))


def test_a_file_of_the_former_version_loads(file):
    """0.1.0 wrote the configuration as it was requested, and nothing beside it."""
    with safetensors.safe_open(file, "pt") as opened:
        requested = opened.metadata()["requested"]
    rewritten(file, {"package": "0.1.0", "config": requested, "requested": None})
    segmenter, _ = make_segmenter(**EAGER)
    load_map(file, segmenter, CONFIG)
    assert same(segmenter, mapped())


SETTINGS = {"map.voxel": 0.05, "memory.index.cell": 8, "fusion.match_threshold": 2.0, "device": "auto", "seed": 3}


def test_other_settings_are_named(file):
    segmenter, _ = make_segmenter(**EAGER)
    other = load_config(overrides=EXACT | SETTINGS)
    with pytest.raises(InputError) as caught:
        load_map(file, segmenter, other)
    assert "but memory.index.cell is 0 there and 8 here, map.voxel is 0.02 there and 0.05 here; set" in str(
        caught.value
    )
    assert len(segmenter.snapshot()) == 0
    load_map(file, segmenter, load_config(overrides=EXACT | {"fusion.match_threshold": 2.0, "seed": 3}))
    assert same(segmenter, mapped())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: f.unlink(), "cannot read .*No such file"),
        (lambda f: (f.unlink(), f.mkdir()), "cannot read .*directory"),
        (lambda f: f.write_bytes(b""), "must be a map that save_map wrote, got another file or the beginning"),
        (lambda f: f.write_bytes(b"PK\3\4" * 50), "got another file"),
        (lambda f: f.write_bytes((9999).to_bytes(8, "little") + b"[" * 9999), "got another file"),
        (lambda f: f.write_bytes(safetensors.torch.save({"a": torch.zeros(2)})), "got another file"),
        (lambda f: f.write_bytes(f.read_bytes()[:300]), "got another file or the beginning"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "must be a whole map, got a damaged one"),
        (lambda f: f.write_bytes(f.read_bytes() + b"x"), "must be a whole map"),
        (lambda f: f.write_bytes(f.read_bytes()[:-9] + bytes(9)), "other numbers than were written"),
        (lambda f: rewritten(f, {"moonseg3r_map": "3", "package": "9.1"}), "format 2, got format 3 of version 9.1"),
        (lambda f: rewritten(f, {"requested": "{"}), "a damaged one"),
        (lambda f: rewritten(f, {"requested": "3"}), "a damaged one"),
        (lambda f: rewritten(f, {"notes": None}), "a damaged one"),
        (lambda f: rewritten(f, {"crc32": None}), "a damaged one"),
        (lambda f: rewritten(f, **{"store.map.sums": torch.zeros(3, 8)}), "other numbers"),
    ],
)
def test_what_is_not_a_whole_map_is_refused(file, damage, words):
    segmenter, _ = running()
    damage(file)
    with pytest.raises(InputError, match=words):
        load_map(file, segmenter, CONFIG)
    assert same(segmenter, mapped(9))


class Stub:
    """A segmenter with a given state."""

    def __init__(self, state):
        self.state_dict = lambda: state


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("store.instances.ids", None, "store.instances.ids must be in a saved state, got none"),
        ("store.map.sums", torch.zeros(3, 7), r"store.map.sums must be \(\d+, 8\), got \(3, 7\)"),
        ("store.votes.voxels.keys", torch.tensor([5, 5]), "store.votes.voxels.keys must be >= 0, none twice"),
        ("store.map.votes.voxels.keys", torch.tensor([-1]), "store.map.votes.voxels.keys must be >= 0, none twice"),
        ("store.instances.next_id", torch.tensor(2**40), "store.instances.next_id must be from 1 to 16777216"),
        ("memory.bank.end", torch.tensor(2**50), r"memory.bank.end must be at least .* below 2\^40"),
        ("memory.bank.end", torch.tensor(3.0), "memory.bank.end must be torch.int64, got torch.float32"),
    ],
)
def test_a_tensor_that_is_missing_or_misshapen(file, name, tensor, words):
    """Not damaged, but written by another program."""
    segmenter, _ = running()
    state = {n: t for n, t in mapped().state_dict().items() if n != name} | ({} if tensor is None else {name: tensor})
    save_map(file, Stub(state), CONFIG)
    with pytest.raises(InputError, match=f"whole map, got a damaged one: {words}"):
        load_map(file, segmenter, CONFIG)
    assert same(segmenter, mapped(9))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_former_file(file, monkeypatch, call):
    before = file.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"cannot write .*No space left on device; choose"):
        save_map(file, mapped(9), CONFIG)
    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == before


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "map", "/proc/no/map"):
        with pytest.raises(OutputError, match="cannot write"):
            save_map(place, mapped(1), CONFIG)
    assert [p.name for p in tmp_path.parent.iterdir() if p.name.endswith(".part")] == []


KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_map_file import CONFIG, EAGER, make_segmenter, load_map, mapped, same, save_map
path, one, two = Path(sys.argv[2]), mapped(3), mapped(9)
begun = time.monotonic()
save_map(path, one, CONFIG)
once = time.monotonic() - begun
random.seed(0)
for turn in range(6):
    child = os.fork()
    if not child:
        while True:
            save_map(path, (two, one)[turn % 2], CONFIG)
            save_map(path, (one, two)[turn % 2], CONFIG)
    time.sleep(random.uniform(0.1, 2.5) * once)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    read = make_segmenter(**EAGER)[0]
    load_map(path, read, CONFIG)
    assert same(read, one) or same(read, two)
    assert {p.name for p in path.parent.iterdir()} <= {path.name, "." + path.name + ".part"}
print("whole")
"""


def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(HERE), str(tmp_path / "map")], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "whole", done.stderr
