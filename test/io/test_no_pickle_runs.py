"""No loader executes a pickle, whatever the file is called."""

import os
import pickle
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from transformers import Dinov2Config

from moonseg3r_core.config import load_config
from moonseg3r_core.errors import MoonSeg3RError
from moonseg3r_core.evaluation.ground_truth import read_ground_truth
from moonseg3r_core.io.huggingface import load_model
from moonseg3r_core.io.text import read_json
from moonseg3r_core.map_file import load_map
from moonseg3r_core.masks.mask_net import read_mask_net
from moonseg3r_core.reconstruction.cut3r.checkpoint import convert, load_cut3r
from moonseg3r_core.refinement.learned import read_query_net
from moonseg3r_core.weights.catalog import CATALOG
from moonseg3r_core.weights.content import check_content
from moonseg3r_core.weights.install import install
from moonseg3r_core.weights.store import FOLDER, compute_hash, find


class Armed:
    """Makes a folder where it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def by_pickle(file, armed):
    file.write_bytes(pickle.dumps({"model": armed}, protocol=2))


def by_torch(file, armed):
    torch.save({"model": {"a": torch.zeros(3)}, "armed": armed}, file)


def by_numpy(file, armed):
    with file.open("wb") as opened:
        np.savez(opened, points=np.array([armed], object), instance_ids=np.array([armed], object))


READERS = {
    by_pickle: pickle.load,
    by_torch: partial(torch.load, weights_only=False),
    by_numpy: lambda file: np.load(file, allow_pickle=True)["points"],
}


def hub_folder(file):
    """A folder as a hub has it, with the file as its weights under either name."""
    Dinov2Config().save_pretrained(file.parent)
    for name in ("pytorch_model.bin", "model.safetensors"):
        (file.parent / name).write_bytes(file.read_bytes())
    return load_model("Dinov2Model", file.parent, torch.device("cpu"))


def only_bin(file):
    """A folder with nothing but the pickle."""
    Dinov2Config().save_pretrained(file.parent)
    (file.parent / "pytorch_model.bin").write_bytes(file.read_bytes())
    return load_model("Dinov2Model", file.parent, torch.device("cpu"))


LOADERS = {
    "queries": read_query_net,
    "masks": read_mask_net,
    "cut3r": load_cut3r,
    "cut3r converted": lambda file: convert(file, file.with_name("made.safetensors")),
    "map": lambda file: load_map(file, object(), load_config(overrides={})),
    "hub folder": hub_folder,
    "hub folder without safetensors": only_bin,
    "downloaded": lambda file: [check_content(file, f"a{suffix}") for suffix in (".pt", ".pth", ".safetensors")],
    "got, kept as it is": lambda file: install(CATALOG["fastsam-s"], file),
    "got, converted": lambda file: install(CATALOG["cut3r-512"], file),
    "found": lambda file: compute_hash(find(file)),
    "truth": read_ground_truth,
    "text": lambda file: read_json(file.read_bytes()),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("write", READERS)
@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
def test_no_loader_runs_a_pickle(tmp_path, monkeypatch, load, write, suffix):
    monkeypatch.setenv(FOLDER, str(tmp_path / "store"))
    trace, file = tmp_path / "trace", tmp_path / f"armed{suffix}"
    write(file, Armed(trace))
    with suppress(MoonSeg3RError, ValueError):
        load(file)
    assert not trace.exists()
    with file.open("rb") as opened:
        READERS[write](opened)
    assert trace.exists()  # the file was armed
