"""Published models by their own library: a folder of weights becomes a net, all of it or an error."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.nn.modules.module import register_module_parameter_registration_hook

from moonseg3r_core.errors import MissingDependency, WeightsError
from moonseg3r_core.io.text import read_json

INSTALL = 'python -m pip install "transformers>=4.57"'
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_ATTENTION = ("attn_implementation", "_attn_implementation")  # the library gets any other, code and all, from a hub
_OWN_ATTENTION = ("eager", "sdpa")
_COUNTED = ("layers", "depth", "blocks")  # in the names of what is built one by one
_LABELS = "num_labels"  # the library writes out a name for each
_ALSO = {"sam2": ("sam2_video",)}  # published nets that hold another and more


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
    kind = getattr(transformers, name)
    try:
        config = read_json((folder / CONFIG).read_bytes())
        _check_model(folder, config, name, kind.config_class.model_type)
        with _quiet(transformers):
            _check_sizes(folder, config, kind)
            net, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                dtype=getattr(torch, precision),
            )
    except WeightsError:
        raise
    except Exception as error:  # the library's own: a wrong config, sizes that do not fit, a file that is cut short
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder} must hold a {name}, got one that does not load ({reason}).") from error
    wrong = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if wrong:
        raise WeightsError(
            f"{folder} must hold all tensors of {name}, got {len(wrong)} missing or of another size: {wrong[0]}."
        )
    return net.requires_grad_(False).eval().to(device)


def _check_model(folder: Path, config: Any, name: str, expected: str) -> None:
    """Raises WeightsError where a configuration says that it is another model's."""
    found = config.get("model_type", expected) if isinstance(config, dict) else expected
    if found not in (expected, *_ALSO.get(expected, ())):
        raise WeightsError(
            f"{folder} must hold a {name}, of model_type {expected!r} in {CONFIG}, got {found!r:.80}; give a folder of "
            f"that model, or set the kind that belongs to this one (`moonseg3r weights list`)."
        )


def _check_sizes(folder: Path, config: Any, kind: Any) -> None:
    """Raises ValueError where a configuration asks for code from elsewhere, or for more than the weights can fill."""
    with safe_open(folder / WEIGHTS, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    _check_facts(config, len(shapes), max((side for shape in shapes for side in shape), default=0))
    there = sum(math.prod(shape) for shape in shapes)
    with torch.device("meta"), _parts_up_to(2 * len(shapes)):  # where nothing takes room, and little takes time
        net = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    asked = sum(tensor.numel() for tensor in (*net.parameters(), *net.buffers()))
    if asked > 2 * there:  # what is made of the configuration alone, beside the weights, is less than they are
        raise ValueError(f"{CONFIG} asks for {asked} numbers, {WEIGHTS} holds {there}")


@contextmanager
def _parts_up_to(most: int) -> Iterator[None]:
    """Raises ValueError in who makes modules of more parameters, however the configuration calls what it counts."""
    made: list[str] = []

    def count(_module: torch.nn.Module, name: str, _parameter: Any) -> None:
        made.append(name)
        if len(made) > most:
            raise ValueError(f"{CONFIG} asks for more than {most} tensors, {WEIGHTS} holds half as many")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_facts(config: Any, tensors: int, longest: int) -> None:
    """Raises ValueError for what would cost time or room even without numbers: `longest` is the tensors' longest side."""
    for name, fact in _facts(config):
        if name in _ATTENTION and fact not in (None, *_OWN_ATTENTION):
            raise ValueError(f"{name} must be one of {', '.join(_OWN_ATTENTION)}, got {fact!r:.80}")
        most = tensors if any(word in name for word in _COUNTED) else longest if name == _LABELS else math.inf
        if isinstance(fact, int) and fact > most:
            raise ValueError(f"{name}={fact} needs more than the {tensors} tensors that are there")


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
