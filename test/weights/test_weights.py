"""The store of weights: what is installed is whole and recorded, and whatever goes wrong leaves nothing that looks so."""

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from official_checkpoints import model_line, official, weights

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.cli import main
from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import InputError, MissingDependency, OutputError, WeightsError
from moonseg3r_core.reconstruction.cut3r.build import open_net
from moonseg3r_core.reconstruction.cut3r.checkpoint import load_cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES
from moonseg3r_core.weights import catalog, compute_hash, find, install, store
from moonseg3r_core.weights.catalog import CATALOG, find_entry
from moonseg3r_core.weights.embedded import EMBEDDED

STAGES = ("reconstruction", "masks", "features", "refinement")
KINDS = {stage: importlib.import_module(f"moonseg3r_core.{stage}.config").KINDS for stage in STAGES}
TINY = SIZES["cut3r-tiny"]
ENTRY = CATALOG["cut3r-512"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty store, in which the net of 512 pixels is a tiny one."""
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setitem(SIZES, "cut3r-512", TINY)
    return tmp_path / "store"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the published file, and the store that it was installed into."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOONSEG3R_WEIGHTS", str(folder / "store"))
        patch.setitem(SIZES, "cut3r-512", TINY)
        install.install(ENTRY, official(folder / "from the publisher.pth"))
    return folder


@pytest.fixture
def pth(made, tmp_path):
    return Path(shutil.copy(made / "from the publisher.pth", tmp_path))


@pytest.fixture
def installed(made, folder):
    shutil.copytree(made / "store", folder)
    return find("cut3r-512")


def say(capsys, *words):
    """The status of `moonseg3r weights ...` and what it printed, to both."""
    status = main(["weights", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def holds_nothing(folder):
    """Whether nothing in a store looks installed, nor was left half-made; what a cut download left is beside."""
    return not list(folder.glob("[!.]*")) and not list(folder.glob(".*.part"))


def test_each_entry_says_what_a_user_must_know():
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.source.address.startswith("https://")
        assert entry.publisher.startswith("https://")
        assert entry.licence.address.startswith("https://")
        assert entry.purpose
        stage, _, kind = entry.setting.partition(".kind=")
        assert kind in KINDS[stage]
        if entry.convert:
            module, _, function = entry.convert.partition(":")
            assert callable(getattr(importlib.import_module(module), function))
    assert all(name in CATALOG and alias not in CATALOG for alias, name in catalog.ALIASES.items())


def test_the_default_weights_of_each_model_are_in_the_catalog():
    """The names that configurations use, which other files than the catalog say."""
    config = Config()
    for stage, kinds in KINDS.items():
        for kind in kinds:
            weights = getattr(getattr(getattr(config, stage), kind, None), "weights", "")
            if weights and weights not in EMBEDDED:
                assert find_entry(weights).setting == f"{stage}.kind={kind}"


def test_who_may_not_use_them_commercially_is_told():
    noncommercial = {name for name, entry in CATALOG.items() if entry.licence.noncommercial}
    assert {name.partition("-")[0] for name in noncommercial} == {"cut3r", "depth", "mask2former", "cropformer"}
    sizes = {name.rpartition("-")[2] for name in CATALOG.keys() - noncommercial if name.startswith("depth-anything")}
    assert sizes == {"small"}
    assert {name.partition("-")[0] for name, entry in CATALOG.items() if entry.gated} == {"dinov3", "cropformer"}


def test_names_and_aliases():
    assert find_entry("cut3r") is find_entry("cut3r-512") is ENTRY
    with pytest.raises(InputError, match=r"one of cut3r-512, cut3r-224, .*, got 'cut3r-244'; did you mean cut3r-224\?"):
        find_entry("cut3r-244")
    for name in EMBEDDED:
        with pytest.raises(InputError, match=f"^{name} comes with the package"):
            find_entry(name)


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MOONSEG3R_WEIGHTS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store.get_store_folder() == tmp_path / "cache" / "moonseg3r" / "weights"
    for nothing in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", nothing)
        assert store.get_store_folder() == tmp_path / ".cache" / "moonseg3r" / "weights"
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", "~/w")
    assert store.get_store_folder() == tmp_path / "w"


def test_a_name_is_found_when_it_is_installed(folder, pth):
    for name in ("cut3r", "cut3r-512"):
        with pytest.raises(InputError) as caught:
            find(name)
        assert f"needs {folder / 'cut3r-512' / 'cut3r-512.safetensors'}, which is not installed" in str(caught.value)
        assert str(caught.value).endswith("get it: moonseg3r weights get cut3r-512")
    file = install.install(ENTRY, pth)
    assert find("cut3r") == find("cut3r-512") == file == folder / "cut3r-512" / "cut3r-512.safetensors"
    with pytest.raises(InputError, match="weights get cut3r-224"):
        find("cut3r-224")


def test_a_path_is_found_as_it_is(pth, tmp_path, monkeypatch):
    assert find(pth) == find(str(pth)) == pth
    monkeypatch.chdir(tmp_path)
    assert find(pth.name) == Path(pth.name)
    assert find(tmp_path) == tmp_path
    for none in ("nowhere.pth", "nowhere/at all.safetensors", "nowhere/at all"):
        with pytest.raises(InputError, match=r"weights expect a file or folder, got .*, which is none"):
            find(none)
    with pytest.raises(InputError, match="weights must be one of"):
        find("nowhere")


@pytest.mark.parametrize("lacking", ["cut3r-512.safetensors", "record.json"])
def test_a_file_without_its_record_is_not_installed(installed, lacking):
    (installed.parent / lacking).unlink()
    with pytest.raises(InputError, match="is not installed"):
        find("cut3r")


@pytest.mark.parametrize("text", ["", "[]"])
def test_a_record_that_is_none(installed, text):
    (installed.parent / "record.json").write_text(text)
    with pytest.raises(InputError, match="is not installed"):
        find("cut3r")


def test_from_a_file_to_a_net(pth, folder, capsys):
    status, out, err = say(capsys, "get", "cut3r", "--from", pth, "--accept-licence")
    assert (status, err) == (0, "")
    assert "CC BY-NC-SA 4.0, no commercial use: https://creativecommons.org" in out
    file = find("cut3r-512")
    assert out.splitlines()[-1] == f"cut3r-512 is installed: {file}"
    net = load_cut3r(file)
    assert all(tensor.equal(weights()[name]) for name, tensor in net.state_dict().items())
    record = json.loads((file.parent / "record.json").read_text())
    assert record["files"][0]["sha256"] == sha256(file) == compute_hash(file)
    assert record["files"][0]["source_sha256"] == sha256(pth)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "cut3r-512"]
    assert sorted(p.name for p in file.parent.iterdir()) == ["cut3r-512.safetensors", "record.json"]
    assert file.stat().st_mode & 0o777 == 0o644


def test_list_path_and_check(pth, folder, capsys):
    assert say(capsys, "check") == (0, f"no weights in {folder}\n", "")
    assert say(capsys, "path") == (0, f"{folder}\n", "")
    _, before, _ = say(capsys, "list")
    assert say(capsys, "path", "cut3r")[0] == 2
    assert say(capsys, "check", "cut3r-224")[2].startswith("moonseg3r: error: cut3r-224 needs ")
    file = install.install(ENTRY, pth)
    _, after, _ = say(capsys, "list")
    rows = [line for line in before.splitlines() if line.partition(" ")[0] in CATALOG]
    assert [line.split()[:2] for line in rows] == [[name, "no"] for name in CATALOG]
    assert [line.split()[2:4] for line in rows[:3]] == [["3.2", "GB"], ["3.0", "GB"], ["99", "MB"]]
    assert max(map(len, before.splitlines())) < 170
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if len(set(pair)) > 1]
    assert [line.split()[:2] for line in changed[0]] == [["cut3r-512", "no"], ["cut3r-512", "yes"]]
    assert len(changed) == 1
    assert say(capsys, "path", "cut3r") == (0, f"{file}\n", "")
    assert say(capsys, "check") == (0, f"cut3r-512: ok, sha256 {sha256(file)}\n", "")


def test_what_is_installed_is_not_got_again(installed, capsys, monkeypatch):
    monkeypatch.setattr(install, "install", None)
    assert say(capsys, "get", "cut3r") == (0, f"cut3r-512 is installed: {installed}\n", "")


class Terminal:
    """Standard input that is one, and gives an answer."""

    def __init__(self, answer):
        self._answer = answer

    def isatty(self):
        return self._answer is not None

    def readline(self, *_):
        return self._answer


@pytest.mark.parametrize(("answer", "accepted"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False), (None, False)])  # fmt: skip
def test_a_licence_must_be_accepted(pth, folder, capsys, monkeypatch, answer, accepted):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    status, out, err = say(capsys, "get", "cut3r", "--from", pth)
    assert "no commercial use" in out
    assert (status == 0) == accepted == (folder / "cut3r-512").exists()
    assert accepted or "cut3r-512 expects consent to its licence, got no" in err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.with_name("no.pth"), "cannot read .*no.pth: no such file"),
        (lambda p: p.parent, "expects cut3r_512_dpt_4_64.pth, cannot read .*/cut3r_512_dpt_4_64.pth: no such file"),
        (lambda p: (p.write_bytes(p.read_bytes()[:99_999]), p)[1], "got the beginning of one"),
        (lambda p: changed(p, p.stat().st_size // 2), r"got a damaged one \(.*/data/\d+\)"),
        (lambda p: changed(p.rename(p.with_name("no suffix")), 100_000), r"got a damaged one \(.*/data/\d+\)"),
        (lambda p: changed(p.rename(p.with_name("a.json")), 100_000), r"got a damaged one \(.*/data/\d+\)"),
        (lambda p: official(p, model={**weights(), "more": torch.zeros(1)}), "1 of its keys are unknown: more"),
        (lambda p: official(p, args={"model": model_line(replace(TINY, state_heads=4))}), "must hold cut3r-512, got a net with state_heads 4 instead of 6"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_not_installed(pth, folder, capsys, make, words):
    with pytest.raises(InputError, match=words):
        install.install(ENTRY, make(pth))
    assert holds_nothing(folder)


def test_the_first_file_got_is_the_measure(installed, pth, tmp_path):
    other = official(tmp_path / "other.pth", epoch=4)
    before = (sha256(installed), (installed.parent / "record.json").read_bytes())
    with pytest.raises(
        InputError, match=f"must have the sha256 .*{sha256(pth)}.* as first got .*, got {sha256(other)}"
    ):
        install.install(ENTRY, other)
    assert (sha256(installed), (installed.parent / "record.json").read_bytes()) == before
    assert install.install(ENTRY, pth) == installed
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(installed.read_bytes())
    install.install(ENTRY, copy)
    assert sha256(installed) == before[0]


def test_a_published_hash_is_the_measure(pth, folder, tmp_path):
    install.install(replace(ENTRY, source=replace(ENTRY.source, sha256=sha256(pth))), pth)
    with pytest.raises(InputError, match=f"must have the sha256 {'0' * 64} as published, got {sha256(pth)}"):
        install.install(replace(CATALOG["cut3r-224"], source=replace(ENTRY.source, sha256="0" * 64)), pth)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "cut3r-512"]


@pytest.fixture
def gdown(monkeypatch, pth):
    """A downloader that brings `pth`, or what a test makes of it."""
    module = ModuleType("gdown")

    def download(*, id, output, quiet, resume):
        assert (id, resume) == ("1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD", True)
        Path(output).write_bytes(pth.read_bytes())
        return output

    module.download = download
    monkeypatch.setitem(sys.modules, "gdown", module)
    return module


def test_a_download_is_installed(gdown, pth, folder, capsys):
    status, out, _ = say(capsys, "get", "cut3r", "--accept-license")
    assert status == 0
    assert "cut3r-512 is installed" in out
    assert json.loads((folder / "cut3r-512" / "record.json").read_text())["files"][0]["source_sha256"] == sha256(pth)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "cut3r-512"]


def raising(error):
    def download(*, output, **_):
        Path(output + "half.part").write_bytes(b"half")
        raise error

    return download


@pytest.mark.parametrize(
    ("download", "words"),
    [
        (raising(RuntimeError("too many\n  accesses")), "did not come .*too many accesses.; try again later, or save .* with a browser, then: moonseg3r weights get cut3r-512 --from cut3r_512"),
        (raising(OSError(28, "No space left on device")), "No space left on device"),
        (lambda **_: None, "did not come from .*drive.google.com/file/d/1Asz.*/view .no file came.; try again later, or save"),
    ],
)  # fmt: skip
def test_a_download_that_fails_leaves_nothing(gdown, folder, monkeypatch, capsys, download, words):
    gdown.download = download
    with pytest.raises(InputError, match=words):
        install.install(ENTRY)
    assert holds_nothing(folder)
    assert say(capsys, "get", "cut3r", "--accept-licence")[0] == 2


def test_without_a_downloader_one_line_says_what_to_install(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(MissingDependency, match=r'run python -m pip install "gdown>=5", or save .* --from'):
        install.install(ENTRY)
    assert holds_nothing(folder)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(28, "No space left on device"), "moonseg3r_core.reconstruction.cut3r.checkpoint.write_checkpoint"),
        (KeyboardInterrupt(), "os.replace"),
        (MemoryError(), "json.dumps"),
    ],
)
def test_an_end_at_any_step_leaves_nothing(pth, folder, monkeypatch, error, place):
    def ending(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, ending)
        with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
            install.install(ENTRY, pth)
    assert holds_nothing(folder)
    assert find(install.install(ENTRY, pth)).is_file()


KILLED = """
import sys, time
from pathlib import Path
from moonseg3r_core.weights import catalog, install
def stuck(*_):
    print("ready", flush=True)
    time.sleep(60)
install.check_content = stuck
install.install(catalog.CATALOG["cut3r-512"], Path(sys.argv[1]))
"""


def test_a_killed_process_leaves_nothing_that_looks_installed(pth, folder):
    command = [sys.executable, "-c", KILLED, str(pth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(InputError, match=f"another moonseg3r is getting weights into {folder}; wait"):
            install.install(ENTRY, pth)
        process.send_signal(signal.SIGKILL)
    with pytest.raises(InputError, match="is not installed"):
        find("cut3r")
    install.install(ENTRY, pth)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "cut3r-512"]


@pytest.mark.parametrize("place", ["/dev/null/store", "/proc/store"])
def test_a_store_that_cannot_be(pth, monkeypatch, place):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", place)
    with pytest.raises(OutputError, match=f"cannot write {place}: .*; free some room or set MOONSEG3R_WEIGHTS"):
        install.install(ENTRY, pth)


def changed(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


def test_a_changed_file_is_noticed(installed, capsys):
    told = store.read_record(installed).files[0].sha256
    changed(installed)
    for look in (compute_hash, store.check):
        with pytest.raises(
            InputError, match=f"must have the sha256 {told} .*; remove the folder {installed.parent} and"
        ):
            look(installed)
    status, out, err = say(capsys, "check")
    assert (status, out) == (2, "")
    assert f"error: {installed} must have the sha256 {told}" in err
    assert say(capsys, "get", "cut3r")[0] == 2


@pytest.mark.parametrize("named", ["", "cut3r", "cut3r-512"])
def test_a_changed_file_is_not_loaded(installed, named):
    cpu = torch.device("cpu")
    assert open_net("cut3r-512", named, False, "cut3r", None, cpu).sizes == TINY
    changed(installed)
    with pytest.raises(InputError, match="must have the sha256"):
        open_net("cut3r-512", named, False, "cut3r", None, cpu)


def test_the_record_spares_reading_the_file(installed, monkeypatch):
    expected = sha256(installed)
    with monkeypatch.context() as patch:
        patch.setattr(store, "compute_sha256", None)
        assert compute_hash(installed) == expected
    os.utime(installed)  # copied to another machine, say
    assert compute_hash(installed) == expected


def test_the_hash_of_any_other_file_is_counted(pth, installed, tmp_path):
    assert compute_hash(pth) == sha256(pth)
    beside = installed.with_name("other.safetensors")
    beside.write_bytes(b"x")
    assert compute_hash(beside) == sha256(beside)
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        compute_hash(tmp_path / "none")


@pytest.mark.parametrize(
    "stage", ["masks.sam2", "masks.sam", "masks.mask2former", "features.dinov3", "features.dinov2"]
)
def test_a_model_without_its_weights_names_the_command_that_gets_them(stage):
    section, kind = stage.split(".")
    config = load_config(overrides={f"{section}.kind": kind, "reconstruction.kind": "rgbd", "device": "cpu"})
    name = getattr(getattr(config, section), kind).weights
    with pytest.raises(WeightsError, match=rf"is not installed; get it: moonseg3r weights get {name}$"):
        build_segmenter(config)


@pytest.mark.parametrize("stage", ["masks.sam2", "masks.mask2former", "features.dinov3"])
def test_a_model_without_its_package_names_the_command_that_installs_it(stage, tmp_path, monkeypatch):
    section, kind = stage.split(".")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    settings = {
        f"{section}.kind": kind,
        f"{stage}.weights": str(tmp_path),
        "reconstruction.kind": "rgbd",
        "device": "cpu",
    }
    with pytest.raises(MissingDependency, match=r'run python -m pip install "transformers>=4.57"$'):
        build_segmenter(load_config(overrides=settings))
