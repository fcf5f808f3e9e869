"""Downloading weights from servers that misbehave: one line says what happened, and nothing looks installed that is not whole."""

import hashlib
import http.server
import json
import sys
import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save, save_file

from moonseg3r_core.cli import main
from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.weights import compute_hash, find, publishers
from moonseg3r_core.weights.catalog import CATALOG
from moonseg3r_core.weights.entry import WebFile
from moonseg3r_core.weights.install import install
from moonseg3r_core.weights.store import check, is_installed

COMMIT = "c" * 40


@dataclass
class Publisher:
    """A server on loopback: what it has, how it misbehaves, and what it was asked for."""

    files: dict = field(default_factory=dict)  # path -> bytes
    facts: dict = field(default_factory=dict)  # path -> headers
    status: int = 200
    cut: int | None = None  # bytes of an answer after which the connection ends
    asked: list = field(default_factory=list)
    address: str = ""

    def answer(self, handler):
        path = handler.path.partition("?")[0]
        self.asked.append((handler.command, path, dict(handler.headers)))
        data = self.files.get(path)
        status = 404 if data is None else 200 if path.startswith("/api") else self.status
        data = b"no" if data is None else data
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **self.facts.get(path, {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data[: self.cut])
        handler.close_connection = True


@pytest.fixture
def publisher():
    publisher = Publisher()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            publisher.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    publisher.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield publisher
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("MOONSEG3R_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The bytes of a file of torch.save."""
    file = tmp_path_factory.mktemp("published") / "FastSAM-s.pt"
    torch.save({"weight": torch.arange(4000.0)}, file)
    return file.read_bytes()


@pytest.fixture
def entry(publisher, weights, monkeypatch):
    """FastSAM as the loopback server publishes it."""
    publisher.files["/a/FastSAM-s.pt"] = weights
    return published_at(f"{publisher.address}/a/FastSAM-s.pt", monkeypatch)


def published_at(address, monkeypatch, sha256=""):
    entry = replace(CATALOG["fastsam-s"], source=WebFile(address, sha256))
    monkeypatch.setitem(CATALOG, entry.name, entry)
    return entry


def get(capsys, *words):
    """The status of `moonseg3r weights get ...` and its line on stderr."""
    status = main(["weights", "get", *map(str, words), "--accept-licence"])
    err = capsys.readouterr().err
    assert err.count("\n") <= 1, err
    return status, err


def holds_nothing(store):
    return not list(store.glob("[!.]*")) and not list(store.glob(".*.part"))


def test_a_file_comes_whole(entry, publisher, weights, store, capsys):
    assert get(capsys, "fastsam-s") == (0, "")
    file = find("fastsam-s")
    assert file == store / "fastsam-s" / "FastSAM-s.pt"
    assert file.read_bytes() == weights
    record = json.loads((store / "fastsam-s" / "record.json").read_text())["files"][0]
    assert record["sha256"] == record["source_sha256"] == hashlib.sha256(weights).hexdigest() == compute_hash(file)
    assert record["source"] == f"{publisher.address}/a/FastSAM-s.pt"
    assert sorted(p.name for p in store.iterdir()) == [".lock", "fastsam-s"]
    assert get(capsys, "fastsam-s") == (0, "")
    assert len(publisher.asked) == 1


def test_a_cut_connection_installs_nothing(entry, publisher, weights, store, capsys):
    publisher.cut = 10_000
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert f"the connection ended after 10000 of {len(weights)} bytes); try again later, or save" in err
    assert [p.name for p in store.iterdir()] == [".lock"]
    publisher.cut = None
    assert get(capsys, "fastsam-s") == (0, "")


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_refuses(entry, publisher, store, capsys, status):
    publisher.status = status
    code, err = get(capsys, "fastsam-s")
    assert code == 2
    assert f"fastsam-s did not come from {publisher.address}/a/FastSAM-s.pt (HTTP Error {status}" in err
    assert "--from FastSAM-s.pt" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "got the beginning of one, or a file of another kind"),
        (b"PK\3\4 the beginning of one", "got the beginning of one, or a file of another kind"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "got a web page, as a server sends"),
    ],
)
def test_a_file_of_another_kind(entry, publisher, store, capsys, data, words):
    publisher.files["/a/FastSAM-s.pt"] = data
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert f"must be a whole FastSAM-s.pt, {words}" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_wrong_hash(publisher, weights, store, monkeypatch, capsys):
    publisher.files["/FastSAM-s.pt"] = weights
    published_at(f"{publisher.address}/FastSAM-s.pt", monkeypatch, "0" * 64)
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert f"must have the sha256 {'0' * 64} as published, got {hashlib.sha256(weights).hexdigest()}" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "what"),
    [("MOONSEG3R_OFFLINE", "fastsam-s"), ("HF_HUB_OFFLINE", "dinov2-small"), ("HF_HUB_OFFLINE", "cut3r-512")],
)
def test_offline_nothing_is_tried(entry, publisher, store, monkeypatch, capsys, name, what):
    monkeypatch.setenv(name, "1")
    status, err = get(capsys, what)
    assert status == 2
    assert f"getting {what} expects a network, got {name}=1; unset it, or bring the files here: save " in err
    assert publisher.asked == []
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_no_network(monkeypatch, store):
    entry = published_at("http://127.0.0.1:9/FastSAM-s.pt", monkeypatch)
    with pytest.raises(InputError, match=r"did not come from .* \(.*Connection refused.*\); try again later, or save"):
        install(entry)
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_server_that_redirects_to_an_open_line(entry, publisher, monkeypatch, store, capsys):
    published_at("https://127.0.0.1/FastSAM-s.pt", monkeypatch)
    unencrypted = f"{publisher.address}/a/FastSAM-s.pt"
    actual = publishers.urlopen
    monkeypatch.setattr(publishers, "urlopen", lambda *_, **__: actual(unencrypted))
    assert f"the server redirects to {unencrypted}, which is not encrypted" in get(capsys, "fastsam-s")[1]
    assert holds_nothing(store)


REPOSITORY = "facebook/dinov2-small"
PLACE = f"/{REPOSITORY}/resolve/{COMMIT}"
MODEL = {"config.json": b'{"model_type": "dinov2"}', "model.safetensors": save({"weight": torch.arange(4000.0)})}


@pytest.fixture
def hub(publisher, monkeypatch):
    """The hub as huggingface_hub asks for it."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", publisher.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    large = hashlib.sha256(MODEL["model.safetensors"]).hexdigest()
    for name, data in MODEL.items():
        tag = large if name == "model.safetensors" else hashlib.sha1(data).hexdigest()
        publisher.files[f"{PLACE}/{name}"] = data
        publisher.facts[f"{PLACE}/{name}"] = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
    tell(publisher, large)
    return publisher


def tell(publisher, sha256):
    """What the hub says of a repository and its one large file."""
    files = [{"rfilename": "config.json", "size": 1}, {"rfilename": "model.safetensors", "size": 1}]
    files[1]["lfs"] = {"size": 1, "sha256": sha256, "pointerSize": 1}
    facts = {"id": REPOSITORY, "sha": COMMIT, "siblings": files, "tags": [], "private": False, "downloads": 0}
    for name in (REPOSITORY, "facebook/dinov3-vits16-pretrain-lvd1689m"):
        publisher.files[f"/api/models/{name}"] = json.dumps(facts | {"likes": 0}).encode()
        publisher.facts[f"/api/models/{name}"] = {"Content-Type": "application/json"}


def test_a_model_comes_with_all_its_files_of_one_commit(hub, store, capsys):
    assert get(capsys, "dinov2-small") == (0, "")
    folder = find("dinov2-small")
    assert folder == store / "dinov2-small"
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "record.json"} == MODEL
    record = json.loads((folder / "record.json").read_text())
    assert [file["source"] for file in record["files"]] == [f"{hub.address}{PLACE}/{name}" for name in MODEL]
    assert sorted(p.name for p in store.iterdir()) == [".lock", "dinov2-small"]


def test_a_model_whose_weights_are_not_as_the_hub_says(hub, store, capsys):
    tell(hub, "0" * 64)
    assert f"must have the sha256 {'0' * 64} as published, got " in get(capsys, "dinov2-small")[1]
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_gated_model_says_how_to_get_access(hub, store, capsys):
    name = "facebook/dinov3-vits16-pretrain-lvd1689m"
    hub.files[f"/{name}/resolve/{COMMIT}/config.json"] = b""
    hub.status, hub.facts[f"/{name}/resolve/{COMMIT}/config.json"] = 403, {"X-Error-Code": "GatedRepo"}
    err = get(capsys, "dinov3-vits16")[1]
    assert f"dinov3-vits16 did not come from https://huggingface.co/{name} (403" in err
    assert "it is given to those who accepted" in err
    assert "accept it on that page, then set HF_TOKEN or run `hf auth login`" in err
    assert holds_nothing(store)


def test_without_the_library_one_line_says_what_to_install(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MissingDependency, match=r'run python -m pip install "huggingface_hub>=0.34", or save .* --from FOLDER'
    ):
        install(CATALOG["dinov2-small"])
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_download_that_ended_early_is_continued_by_the_library(monkeypatch, store, tmp_path):
    """gdown keeps a part beside the file; a wrong file by hand does not cost it."""

    def download(*, output, **_):
        store.joinpath(".cut3r-512.download", "half.part").write_bytes(b"half")
        raise RuntimeError("the connection ended")

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
    (tmp_path / "wrong.pth").write_bytes(b"wrong")
    for source in (None, tmp_path / "wrong.pth"):
        with pytest.raises(InputError):
            install(CATALOG["cut3r-512"], source)
        assert [file.name for file in store.glob(".cut3r-512.download/*")] == ["half.part"]
    assert holds_nothing(store)


@pytest.fixture
def folder(tmp_path):
    """A model fetched by hand."""
    folder = tmp_path / "by hand"
    folder.mkdir()
    (folder / "config.json").write_bytes(MODEL["config.json"])
    save_file({"weight": torch.arange(4.0)}, folder / "model.safetensors")
    return folder


def test_a_model_from_a_folder(folder, monkeypatch, capsys):
    monkeypatch.setenv("MOONSEG3R_OFFLINE", "1")
    (folder / "README.md").write_text("not asked for")
    assert get(capsys, "dinov2-small", "--from", folder) == (0, "")
    assert sorted(p.name for p in find("dinov2-small").iterdir()) == ["config.json", "model.safetensors", "record.json"]
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("data", [b"<html>", b"[]", b"{"])
def test_a_folder_with_a_file_of_another_kind(folder, store, capsys, data):
    (folder / "config.json").write_bytes(data)
    assert "must be a whole config.json, got " in get(capsys, "dinov2-small", "--from", folder)[1]
    assert holds_nothing(store)


def test_a_folder_that_lacks_a_file(folder, store, capsys):
    assert get(capsys, "dinov2-small", "--from", folder / "model.safetensors")[0] == 2
    (folder / "config.json").unlink()
    status, err = get(capsys, "dinov2-small", "--from", folder)
    assert status == 2
    assert f"dinov2-small expects config.json, model.safetensors, cannot read {folder / 'config.json'}" in err
    assert holds_nothing(store)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_check_counts_every_file(folder, capsys, name):
    place = install(CATALOG["dinov2-small"], folder)
    assert main(["weights", "check"]) == 0
    assert f"dinov2-small: ok, sha256 {compute_hash(place)}" in capsys.readouterr().out
    data = bytearray((place / name).read_bytes())
    data[-1] ^= 1
    (place / name).write_bytes(data)
    for look in (check, compute_hash):
        with pytest.raises(InputError, match=rf"{name} must have the sha256 .*; remove the folder {place} and get it"):
            look(place)
    assert main(["weights", "check"]) == 2


def test_a_lost_file_is_not_installed_and_check_says_so(folder, capsys):
    place = install(CATALOG["dinov2-small"], folder)
    (place / "config.json").unlink()
    assert not is_installed(CATALOG["dinov2-small"])
    assert main(["weights", "check"]) == 2
    assert "is not installed; get it: moonseg3r weights get dinov2-small" in capsys.readouterr().err
    assert get(capsys, "dinov2-small", "--from", folder) == (0, "")
    assert is_installed(CATALOG["dinov2-small"])


def test_the_hash_of_a_folder_is_that_of_what_is_in_it(folder):
    installed = install(CATALOG["dinov2-small"], folder)
    assert compute_hash(installed) == check(installed) == compute_hash(folder) == compute_hash(find(folder))
    (folder / "config.json").rename(folder / "other.json")
    assert compute_hash(folder) != compute_hash(installed)
    lines = "".join(f"{compute_hash(file)}  {file.name}\n" for file in sorted(folder.iterdir()))
    assert compute_hash(folder) == hashlib.sha256(lines.encode()).hexdigest()
