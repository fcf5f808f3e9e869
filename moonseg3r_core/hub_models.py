"""Published models by their own library: a folder of weights becomes a net, all of it or an error."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from moonseg3r_core.errors import MissingDependency, WeightsError
from moonseg3r_core.plain_text import read_json

INSTALL = 'python -m pip install "transformers>=4.57"'
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_ATTENTION = ("attn_implementation", "_attn_implementation")  # the library gets any other, code and all, from a hub
_OWN_ATTENTION = ("eager", "sdpa")
_COUNTED = ("layers", "depth", "blocks")  # in the names of what is built one by one


def import_transformers(what: str) -> Any:
    """The transformers package. Raises MissingDependency with the command that installs it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency(f"{what} expects transformers, which is not here ({error}); run {INSTALL}") from error


def load_model(name: str, folder: Path, device: torch.device, precision: str = "float32") -> Any:
    """The net of class `name` in transformers from a folder as its hub has them, offline, for inference.

    Raises MissingDependency without transformers, WeightsError for a folder that is not whole or of another model.
    """
    transformers = import_transformers(name)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise WeightsError(
                f"{name} expects {CONFIG} and {WEIGHTS} in {folder}, got no {file}; get the model again."
            )
    try:
        _check_config(folder)
        with _quiet(transformers):
            net, report = getattr(transformers, name).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                dtype=getattr(torch, precision),
            )
    except Exception as error:  # the library's own: a wrong config, sizes that do not fit, a file that is cut short
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder} must hold a {name}, got one that does not load ({reason}).") from error
    wrong = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if wrong:
        raise WeightsError(
            f"{folder} must hold all tensors of {name}, got {len(wrong)} missing or of another size: {wrong[0]}."
        )
    return net.requires_grad_(False).eval().to(device)


def _check_config(folder: Path) -> None:
    """Raises ValueError where a configuration asks for code from elsewhere or more layers than there are tensors."""
    with safe_open(folder / WEIGHTS, "pt") as file:
        most = len(list(file.keys()))
    for name, fact in _facts(read_json((folder / CONFIG).read_bytes())):
        if name in _ATTENTION and fact not in (None, *_OWN_ATTENTION):
            raise ValueError(f"{name} must be one of {', '.join(_OWN_ATTENTION)}, got {fact!r:.80}")
        if any(word in name for word in _COUNTED) and isinstance(fact, int) and fact > most:
            raise ValueError(f"{name}={fact} needs more than the {most} tensors that are there")


def _facts(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration with its name, whatever it lies in."""
    if isinstance(content, dict):
        for inner, value in content.items():
            yield from _facts(value, name if name in _ATTENTION else inner)
    elif isinstance(content, list):
        for value in content:
            yield from _facts(value, name)
    else:
        yield name, content


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's bars and tables: what is wrong is said in one line."""
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
