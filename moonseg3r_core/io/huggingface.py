"""Loads published models with transformers from a folder: all of their weights, or an error of one line."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.errors import MissingDependency, WeightsError
from moonseg3r_core.io.text import read_json

INSTALL = 'python -m pip install "transformers>=4.57"'
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FOREIGN_CODE = re.compile(r'"_?attn_implementation": (?!null|"eager"|"sdpa")')  # the library fetches it from a hub
_ALSO = {"sam2": ("sam2_video",)}  # published nets that hold another and more


def import_transformers(what: str) -> Any:
    """Import transformers. Raises MissingDependency with the command that installs it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency(f"{what} expects transformers, which is not here ({error}); run {INSTALL}") from error


def load_model(name: str, folder: Path, device: torch.device, precision: str = "float32") -> Any:
    """Load the net of class `name` in transformers from a folder as its hub has them, offline, for inference.

    Nothing in the folder is executed. Raises MissingDependency without transformers, WeightsError for a folder that is
    not whole or of another model.
    """
    transformers = import_transformers(name)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise WeightsError(
                f"{name} expects {CONFIG} and {WEIGHTS} in {folder}, got no {file}; get the model again."
            )
    kind = getattr(transformers, name)
    try:
        _check_config(folder, name, kind.config_class.model_type)
        with _silence(transformers):
            net, report = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                dtype=getattr(torch, precision),
            )  # fmt: skip
    except WeightsError:
        raise
    except Exception as error:  # the library raises anything for a wrong config and a file that is cut short
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder} must hold a {name}, got one that does not load ({reason}).") from error
    wrong = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if wrong:
        raise WeightsError(
            f"{folder} must hold all tensors of {name}, got {len(wrong)} missing or of another size: {wrong[0]}."
        )
    return net.requires_grad_(False).eval().to(device)


def _check_config(folder: Path, name: str, expected: str) -> None:
    """Raise WeightsError for a configuration of another model, or one that has code fetched from elsewhere."""
    config = read_json((folder / CONFIG).read_bytes())
    found = config.get("model_type", expected) if isinstance(config, dict) else expected
    if found not in (expected, *_ALSO.get(expected, ())):
        raise WeightsError(
            f"{folder} must hold a {name}, of model_type {expected!r} in {CONFIG}, got {found!r:.80}; give a folder of "
            f"that model, or set the kind that belongs to this one (`moonseg3r weights list`)."
        )
    if _FOREIGN_CODE.search(json.dumps(config)):
        raise WeightsError(f"{folder} must use attention of transformers, got other code in {CONFIG}; remove it there.")


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Keep the library's progress bars and tables off the terminal."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
