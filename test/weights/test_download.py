"""Getting weights from servers that misbehave: one line says what happened, and nothing looks installed that is not whole."""

import hashlib
import http.server
import json
import resource
import shutil
import ssl
import subprocess
import sys
import threading
from collections import namedtuple
from dataclasses import dataclass, field, replace

import pytest
import torch
from safetensors.torch import save, save_file

from moonseg3r_core.cli import main
from moonseg3r_core.errors import InputError, MissingDependency, OutputError
from moonseg3r_core.weights import find, hash_of
from moonseg3r_core.weights.catalog import CATALOG
from moonseg3r_core.weights.entry import WebFile
from moonseg3r_core.weights.install import install
from moonseg3r_core.weights.store import check, is_installed
from moonseg3r_core.weights.transfer import bring

COMMIT = "c" * 40


@dataclass
class Publisher:
    """A server on loopback: what it has, how it misbehaves, and what it was asked for."""

    files: dict = field(default_factory=dict)  # path -> bytes
    moved: dict = field(default_factory=dict)  # path -> address
    status: int = 200
    headers: dict = field(default_factory=dict)
    kind: str = "application/octet-stream"
    cut: int | None = None  # bytes of an answer after which the connection ends
    longer: int = 0  # bytes more than are sent that are announced
    ranges: bool = True
    tags: bool = True
    asked: list = field(default_factory=list)
    address: str = ""

    def answer(self, handler):
        self.asked.append((handler.command, handler.path, dict(handler.headers)))
        if handler.path in self.moved:
            return self.send(handler, 302, b"", {"Location": self.moved[handler.path], **self.facts(handler.path)})
        data = self.files.get(handler.path)
        if self.status != 200 or data is None:
            return self.send(handler, self.status if self.status != 200 else 404, b"no", self.headers)
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        headers = {
            "Content-Type": self.kind,
            "X-Repo-Commit": COMMIT,
            **({"ETag": tag} if self.tags else {}),
            **self.headers,
        }
        begin = handler.headers.get("Range")
        if begin and self.ranges and handler.headers.get("If-Range", tag) == tag:
            start = int(begin.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.send(handler, 416, b"", {})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.send(handler, 206, data[start:], headers)
        return self.send(handler, 200, data, headers)

    def facts(self, path):
        """What the hub says of a large file that it keeps elsewhere."""
        data = self.files[f"/far/{path.rpartition(chr(47))[2]}"]
        digest = hashlib.sha256(data).hexdigest()
        return {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            **self.headers,
        }

    def send(self, handler, status, data, headers):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data) + self.longer))
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data[: self.cut])
        handler.close_connection = True

    def begins(self):
        """Where each request for content began."""
        return [headers.get("Range") for command, _, headers in self.asked if command == "GET"]


def serve(publisher, certificate=None):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            publisher.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that does not trust us hangs up
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    publisher.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def publisher():
    publisher = Publisher()
    server = serve(publisher)
    yield publisher
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("MOONSEG3R_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The bytes of a file of torch.save, of more than one chunk."""
    file = tmp_path_factory.mktemp("published") / "FastSAM-s.pt"
    torch.save({"weight": torch.arange(400_000.0)}, file)
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


def kept(store):
    """What is kept of downloads that ended early, by size."""
    return [file.stat().st_size for file in store.glob(".*.download/*.part")]


# A file by https


def test_a_file_comes_whole(entry, publisher, weights, store, capsys):
    assert get(capsys, "fastsam-s") == (0, "")
    file = find("fastsam-s")
    assert file == store / "fastsam-s" / "FastSAM-s.pt"
    assert file.read_bytes() == weights
    record = json.loads((store / "fastsam-s" / "record.json").read_text())["files"][0]
    assert record["sha256"] == record["source_sha256"] == hashlib.sha256(weights).hexdigest() == hash_of(file)
    assert record["source"] == f"{publisher.address}/a/FastSAM-s.pt"
    assert sorted(p.name for p in store.iterdir()) == [".lock", "fastsam-s"]
    assert get(capsys, "fastsam-s") == (0, "")
    assert len(publisher.asked) == 1


def test_a_cut_connection_goes_on_where_it_ended(entry, publisher, weights, store, capsys):
    for cut in (100_000, 70_000):
        publisher.cut = cut
        status, err = get(capsys, "fastsam-s")
        assert status == 2
        assert f"of {len(weights)} bytes); what came is kept: the same command goes on there" in err
        assert holds_nothing(store)
    publisher.cut = None
    assert kept(store) == [170_000]
    assert get(capsys, "fastsam-s") == (0, "")
    assert publisher.begins() == [None, "bytes=100000-", "bytes=170000-"]
    assert find("fastsam-s").read_bytes() == weights
    assert sorted(p.name for p in store.iterdir()) == [".lock", "fastsam-s"]


@pytest.mark.parametrize(
    ("other", "asked"),
    [({"tags": False}, None), ({"headers": {"ETag": 'W/"weak"'}}, None), ({"ranges": False}, "bytes=100000-")],
)
def test_what_cannot_go_on_begins_anew(entry, publisher, weights, capsys, other, asked):
    publisher.cut = 100_000
    vars(publisher).update(other)
    assert get(capsys, "fastsam-s")[0] == 2
    publisher.cut = None
    assert get(capsys, "fastsam-s") == (0, "")
    assert publisher.begins() == [None, asked]
    assert find("fastsam-s").read_bytes() == weights


def test_a_file_that_changed_meanwhile_is_no_mixture(entry, publisher, weights, capsys, tmp_path):
    publisher.cut = 100_000
    assert get(capsys, "fastsam-s")[0] == 2
    torch.save({"weight": torch.ones(400_000)}, tmp_path / "new.pt")
    publisher.cut, publisher.files["/a/FastSAM-s.pt"] = None, (tmp_path / "new.pt").read_bytes()
    assert get(capsys, "fastsam-s") == (0, "")
    assert find("fastsam-s").read_bytes() == (tmp_path / "new.pt").read_bytes()


def test_all_of_it_came_but_the_process_was_killed(entry, publisher, weights, store, capsys):
    """The server is asked for what is behind the end (416), then for all of it."""
    publisher.cut = len(weights) - 1
    assert get(capsys, "fastsam-s")[0] == 2
    publisher.cut = None
    part = next(store.glob(".fastsam-s.download/*.part"))
    part.write_bytes(weights)
    assert get(capsys, "fastsam-s") == (0, "")
    assert find("fastsam-s").read_bytes() == weights


@pytest.mark.parametrize(
    ("status", "words"), [(403, "403 Forbidden"), (404, "404 Not Found"), (500, "500 Internal Server Error")]
)
def test_a_server_that_refuses(entry, publisher, store, capsys, status, words):
    publisher.status = status
    code, err = get(capsys, "fastsam-s")
    assert code == 2
    assert f"fastsam-s did not come from {publisher.address}/a/FastSAM-s.pt (the server says {words}); try again" in err
    assert "--from FastSAM-s.pt" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_the_file(entry, publisher, store, capsys, kind):
    publisher.kind, publisher.files["/a/FastSAM-s.pt"] = kind, b"\n<!DOCTYPE html><html>sign in</html>"
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert "a web page" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_page_does_not_cost_what_came_before(entry, publisher, weights, store, capsys):
    publisher.cut = 100_000
    assert get(capsys, "fastsam-s")[0] == 2
    publisher.cut, publisher.kind = None, "text/html"
    assert get(capsys, "fastsam-s")[0] == 2
    assert kept(store) == [100_000]


@pytest.mark.parametrize("data", [b"", b"PK\3\4 the beginning of one", b"something else"])
def test_a_file_of_another_kind(entry, publisher, store, capsys, data):
    publisher.files["/a/FastSAM-s.pt"] = data
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert "must be a whole FastSAM-s.pt, got the beginning of one, or a file of another kind" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_changed_byte_is_noticed_by_the_file_itself(entry, publisher, weights, store, capsys):
    damaged = bytearray(weights)
    damaged[len(damaged) // 2] ^= 1
    publisher.files["/a/FastSAM-s.pt"] = bytes(damaged)
    assert "got a damaged one" in get(capsys, "fastsam-s")[1]
    assert holds_nothing(store)


def test_more_bytes_announced_than_sent(entry, publisher, weights, store, capsys):
    publisher.longer = 10
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert f"after {len(weights)} of {len(weights) + 10} bytes" in err
    assert holds_nothing(store)


def test_a_wrong_hash(publisher, weights, store, monkeypatch, capsys):
    publisher.files["/FastSAM-s.pt"] = weights
    published_at(f"{publisher.address}/FastSAM-s.pt", monkeypatch, "0" * 64)
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert f"must have the sha256 {'0' * 64} as published, got {hashlib.sha256(weights).hexdigest()}" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_the_first_file_got_is_the_measure(entry, publisher, weights, tmp_path, capsys):
    install(entry)
    torch.save({"weight": torch.ones(4)}, tmp_path / "new.pt")
    publisher.files["/a/FastSAM-s.pt"] = (tmp_path / "new.pt").read_bytes()
    for source in (None, tmp_path / "new.pt"):
        with pytest.raises(InputError, match="as first got"):
            install(entry, source)
    assert find("fastsam-s").read_bytes() == weights


# The disk


def test_a_full_disk_keeps_what_came(entry, publisher, weights, store, capsys):
    """A limit on the size of files makes a write fail as a full disk does."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, limit[1]))
    try:
        with pytest.raises(
            OutputError, match=r"cannot write .*store: File too large; free some room or set MOONSEG3R_WEIGHTS"
        ):
            install(entry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert holds_nothing(store)
    assert 1_000_000 < kept(store)[0] <= 1_200_000
    install(entry)
    assert publisher.begins()[1] is not None
    assert find("fastsam-s").read_bytes() == weights


def test_a_disk_without_room_is_not_filled(entry, publisher, store, monkeypatch, capsys):
    room = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room(1000))
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert "No space left on device; free some room or set MOONSEG3R_WEIGHTS" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


# The network


@pytest.mark.parametrize("name", ["MOONSEG3R_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("what", ["fastsam-s", "dinov2-small", "cut3r-512"])
def test_offline_nothing_is_tried(entry, publisher, store, monkeypatch, capsys, name, what):
    monkeypatch.setenv(name, "1")
    status, err = get(capsys, what)
    assert status == 2
    assert f"getting {what} expects a network, got {name}=1; unset it, or bring the files here: save " in err
    assert publisher.asked == []
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("host", "words"),
    [("http://127.0.0.1:9", "Connection refused"), ("http://no.such.host.invalid", "not known|resolution|No address")],
)
def test_no_network(monkeypatch, store, host, words):
    entry = published_at(f"{host}/FastSAM-s.pt", monkeypatch)
    with pytest.raises(
        InputError, match=rf"did not come from {host}/FastSAM-s.pt \(.*({words}).*\); try again later, or save"
    ):
        install(entry)
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate that nobody but its owner vouches for."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True
    )
    (folder / "both.pem").write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return folder / "both.pem"


@pytest.fixture
def secure(certificate, weights, monkeypatch):
    publisher = Publisher({"/FastSAM-s.pt": weights})
    server = serve(publisher, certificate)
    published_at(f"{publisher.address}/FastSAM-s.pt", monkeypatch)
    yield publisher
    server.shutdown()
    server.server_close()


def test_a_certificate_that_nobody_trusts(secure, store, capsys):
    status, err = get(capsys, "fastsam-s")
    assert status == 2
    assert "the server's certificate cannot be trusted: self" in err
    assert secure.asked == []
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_certificate_that_the_user_trusts(secure, certificate, weights, monkeypatch, capsys):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get(capsys, "fastsam-s") == (0, "")
    assert find("fastsam-s").read_bytes() == weights


def test_a_server_that_sends_us_to_an_open_line(secure, entry, publisher, certificate, store, monkeypatch, capsys):
    published_at(f"{secure.address}/FastSAM-s.pt", monkeypatch)
    secure.moved["/FastSAM-s.pt"] = f"{publisher.address}/a/FastSAM-s.pt"
    secure.facts = lambda _: {}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "which is not encrypted" in get(capsys, "fastsam-s")[1]
    assert holds_nothing(store)


def test_what_identifies_the_user_stays_with_the_server(publisher, weights, tmp_path):
    publisher.files["/far"] = weights
    publisher.moved["/near"] = publisher.address.replace("127.0.0.1", "localhost") + "/far"
    publisher.facts = lambda _: {}
    bring(f"{publisher.address}/near", tmp_path / "file", {"Authorization": "Bearer secret"})
    assert (tmp_path / "file").read_bytes() == weights
    assert ["Authorization" in headers for _, _, headers in publisher.asked] == [True, False]


# The hub

MODEL = {"config.json": b'{"model_type": "dinov2"}'}
PLACE = "/facebook/dinov2-small/resolve"


@pytest.fixture
def hub(publisher, monkeypatch):
    """The hub as huggingface_hub asks for it: small files at hand, the large one elsewhere, under another host's name."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", publisher.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    publisher.files["/far/model.safetensors"] = save({"weight": torch.arange(400_000.0)})
    for revision in ("main", COMMIT):
        publisher.files |= {f"{PLACE}/{revision}/{name}": data for name, data in MODEL.items()}
        far = publisher.address.replace("127.0.0.1", "localhost") + "/far/model.safetensors"
        publisher.moved[f"{PLACE}/{revision}/model.safetensors"] = far
    return publisher


def test_a_model_comes_with_all_its_files(hub, store, capsys):
    assert get(capsys, "dinov2-small") == (0, "")
    folder = find("dinov2-small")
    assert folder == store / "dinov2-small"
    expected = {**MODEL, "model.safetensors": hub.files["/far/model.safetensors"]}
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "record.json"} == expected
    record = json.loads((folder / "record.json").read_text())
    assert [file["source"] for file in record["files"]] == [
        f"{hub.address}{PLACE}/{COMMIT}/{name}" for name in ("config.json", "model.safetensors")
    ]
    assert sorted(p.name for p in store.iterdir()) == [".lock", "dinov2-small"]


def test_all_files_are_of_one_commit_and_the_token_stays_with_the_hub(hub, capsys):
    assert get(capsys, "dinov2-small")[0] == 0
    assert [path.split("/")[4] for command, path, _ in hub.asked if command == "HEAD"] == ["main", COMMIT]
    for _, path, headers in hub.asked:
        sent = {name.lower(): value for name, value in headers.items()}.get("authorization")
        assert sent == (None if path.startswith("/far") else "Bearer hf_secret"), path


def test_a_cut_model_goes_on_where_it_ended(hub, store, capsys):
    hub.cut = 100_000
    status, err = get(capsys, "dinov2-small")
    assert status == 2
    assert "the same command goes on there" in err
    assert holds_nothing(store)
    assert kept(store) == [100_000]
    hub.cut, hub.tags = None, False  # the hub's own name for the content will do
    assert get(capsys, "dinov2-small") == (0, "")
    assert hub.begins() == [None, None, "bytes=100000-"]


def test_a_model_whose_weights_are_not_as_the_hub_says(hub, store, capsys):
    hub.headers["X-Linked-Etag"] = f'"{"0" * 64}"'
    assert f"must have the sha256 {'0' * 64} as published, got " in get(capsys, "dinov2-small")[1]
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_model_of_another_length_than_the_hub_says(hub, store, capsys):
    hub.headers["X-Linked-Size"] = "5"
    assert "it must have 5 bytes, the server has" in get(capsys, "dinov2-small")[1]
    assert holds_nothing(store)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("/far/model.safetensors", b"half"),
        (f"{PLACE}/main/config.json", b"<html>"),
        (f"{PLACE}/main/config.json", b"[]"),
    ],
)
def test_a_model_of_another_kind(hub, store, capsys, name, data):
    hub.files[name] = data
    status, err = get(capsys, "dinov2-small")
    assert status == 2
    assert f"must be a whole {name.rpartition('/')[2]}, got " in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_model_cut_before_it_was_published(hub, store, capsys):
    """Its hash and length are as the hub says; what it says of itself is not."""
    hub.files["/far/model.safetensors"] = hub.files["/far/model.safetensors"][:-4]
    assert "must be a whole model.safetensors, got a damaged one" in get(capsys, "dinov2-small")[1]
    assert holds_nothing(store)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "GatedRepo", "401 Unauthorized"), (403, "GatedRepo", "403 Forbidden"), (401, "", "401 Unauthorized")],
)
def test_a_gated_model_says_how_to_get_access(hub, store, capsys, status, code, words):
    hub.status, hub.headers = status, {"X-Error-Code": code} if code else {}
    page = "https://huggingface.co/facebook/dinov3-vits16-pretrain-lvd1689m"
    err = get(capsys, "dinov3-vits16")[1]
    assert f"dinov3-vits16 did not come from {page} (the server says {words}): it is given to those who accepted" in err
    assert "accept it on that page, then set HF_TOKEN or run `hf auth login`" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_hub_that_refuses(hub, store, capsys, status):
    hub.status = status
    err = get(capsys, "dinov2-small")[1]
    assert f"did not come from https://huggingface.co/facebook/dinov2-small (the server says {status} " in err
    assert "save config.json, model.safetensors from" in err
    assert "--from FOLDER" in err
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_a_file_that_the_hub_lacks(hub, store, capsys):
    del hub.moved[f"{PLACE}/{COMMIT}/model.safetensors"]
    assert "the server says 404 Not Found" in get(capsys, "dinov2-small")[1]
    assert holds_nothing(store)


def test_no_hub(hub, store, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "Connection refused" in get(capsys, "dinov2-small")[1]
    assert [p.name for p in store.iterdir()] == [".lock"]


def test_without_the_library_one_line_says_what_to_install(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MissingDependency, match=r'run python -m pip install "huggingface_hub>=0.34", or save .* --from FOLDER'
    ):
        install(CATALOG["dinov2-small"])
    assert [p.name for p in store.iterdir()] == [".lock"]


# Folders


@pytest.fixture
def folder(tmp_path):
    """A model fetched by hand."""
    folder = tmp_path / "by hand"
    folder.mkdir()
    for name, data in MODEL.items():
        (folder / name).write_bytes(data)
    save_file({"weight": torch.arange(4.0)}, folder / "model.safetensors")
    return folder


def test_a_model_from_a_folder(folder, store, monkeypatch, capsys):
    monkeypatch.setenv("MOONSEG3R_OFFLINE", "1")
    (folder / "README.md").write_text("not asked for")
    assert get(capsys, "dinov2-small", "--from", folder) == (0, "")
    assert sorted(p.name for p in find("dinov2-small").iterdir()) == sorted(
        ["config.json", "model.safetensors", "record.json"]
    )
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(folder, store, capsys, lacking):
    (folder / lacking).unlink()
    status, err = get(capsys, "dinov2-small", "--from", folder)
    assert status == 2
    assert f"dinov2-small expects config.json, model.safetensors, cannot read {folder / lacking}" in err
    assert holds_nothing(store)


def test_a_file_where_a_folder_is_needed(folder, store, capsys):
    assert get(capsys, "dinov2-small", "--from", folder / "model.safetensors")[0] == 2
    assert holds_nothing(store)


def test_a_wrong_file_by_hand_costs_no_download(entry, publisher, store, tmp_path, capsys):
    publisher.cut = 100_000
    assert get(capsys, "fastsam-s")[0] == 2
    (tmp_path / "wrong.pt").write_bytes(b"wrong")
    assert get(capsys, "fastsam-s", "--from", tmp_path / "wrong.pt")[0] == 2
    assert kept(store) == [100_000]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_check_counts_every_file(folder, capsys, name):
    place = install(CATALOG["dinov2-small"], folder)
    assert main(["weights", "check"]) == 0
    assert f"dinov2-small: ok, sha256 {hash_of(place)}" in capsys.readouterr().out
    data = bytearray((place / name).read_bytes())
    data[-1] ^= 1
    (place / name).write_bytes(data)
    for look in (check, hash_of):
        with pytest.raises(
            InputError, match=rf"{name} must have the sha256 .*; remove the folder {place} and get it again"
        ):
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


def test_the_hash_of_a_folder_is_that_of_what_is_in_it(folder, tmp_path):
    installed = install(CATALOG["dinov2-small"], folder)
    assert hash_of(installed) == check(installed) == hash_of(folder) == hash_of(find(folder))
    (folder / "config.json").rename(folder / "other.json")
    assert hash_of(folder) != hash_of(installed)
    lines = "".join(f"{hash_of(file)}  {file.name}\n" for file in sorted(folder.iterdir()))
    assert hash_of(folder) == hashlib.sha256(lines.encode()).hexdigest()
