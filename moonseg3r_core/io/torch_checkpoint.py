"""Reads files of torch.save without running anything that they name.

A pickle is a program that may call whatever it names. Here it can name tensors and plain dicts only; every other class
or function becomes `Inert`, which does nothing.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from moonseg3r_core.errors import InputError

_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class Inert:
    """Stands for an object of any other class, or for what an unknown function would return; keeps its state."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...


class InertUnpickler(pickle.Unpickler):
    """torch.load adds what reads tensors' numbers (`persistent_load`) and names of storages."""

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), Inert)


def load_checkpoint(path: Path) -> Any:
    """Load what torch.save wrote (torch 1.6 and later), objects of unknown classes as `Inert`.

    The tensors' numbers are mapped from the file when they are used: it must not change meanwhile. Raises InputError for
    a file that is missing, of another kind, or damaged.
    """
    module = SimpleNamespace(__name__="inert_pickle", Unpickler=InertUnpickler)
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", mmap=True, weights_only=False, pickle_module=module)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give a file of torch.save.") from error
    except Exception as error:  # damaged bytes make torch raise anything
        raise InputError(
            f"{path} must be a whole file of torch.save, got a damaged one or another ({str(error)[:200].rstrip('.')}); "
            "download or copy it again."
        ) from error


def _check_archive(path: Path) -> None:
    """Raise ValueError for an archive that torch.load would not read as it was written.

    torch.load compares no checksum, takes compressed numbers as they are, and starts an interpreter for TorchScript.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in names):
            raise ValueError("another archive")
        if any(entry.header_offset < 0 for entry in archive.infolist()):
            raise ValueError("the end of one")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("a compressed archive")
        archive.read(pickles[0])
