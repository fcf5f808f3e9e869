"""Files that hold the weights of a net and its sizes: the official pickles, read inertly, and our safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.io.inert_pickle import Stored
from moonseg3r_core.io.text import read_json
from moonseg3r_core.io.torch_file import open_torch_file
from moonseg3r_core.reconstruction.cut3r.args import check_sizes, model_text, parse_model, sizes_from
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes

SUFFIX = ".safetensors"
_HEADER = "cut3r"  # our one entry in the file's header; several would stand in another order every time
_WRAPPED = "module."


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights: the net's sizes, its tensors by key, and the text that described it where it was trained."""

    path: Path
    sizes: Cut3rSizes
    tensors: Mapping[str, Tensor]
    args: str


def read_checkpoint(path: str | Path, *, verify: bool = False) -> Checkpoint:
    """What a file holds, the tensors' numbers left in it until they are used. `verify`: compare a pickle's checksums.

    Raises InputError for a file that is missing, damaged, or does not say what net its weights are of.
    """
    path = Path(path)
    checkpoint = _read_safetensors(path) if path.suffix == SUFFIX else _read_official(path, verify)
    depth = max(checkpoint.sizes.enc_depth, checkpoint.sizes.dec_depth, checkpoint.sizes.ray_depth)
    if depth > len(checkpoint.tensors):
        raise InputError(f"{path} must hold {depth} layers, got {len(checkpoint.tensors)} tensors; get it again.")
    return checkpoint


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write safetensors; `path` is what it was until the new file is whole. Raises OutputError where that fails."""
    header = json.dumps({"sizes": asdict(checkpoint.sizes), "args": checkpoint.args}, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
        with write_atomically(path) as part:
            safetensors.torch.save_file(tensors, part, {_HEADER: header})
            part.chmod(0o644)  # some versions of safetensors keep it to its owner; a folder may be shared
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}; choose a folder with room that can be written.") from error


def _read_official(path: Path, verify: bool) -> Checkpoint:
    """A dict with `model` and `args`; its optimizer and whatever else is there are not looked at."""
    file = open_torch_file(path)
    content = file.content if isinstance(file.content, dict) else {}
    model = content.get("model")
    if not isinstance(model, dict) or not model or "args" not in content:
        found = ", ".join(map(str, list(content)[:6])) or type(file.content).__name__
        raise InputError(
            f"{path} must hold `model` and `args` as CUT3R's training writes them, got {found}; give that file."
        )
    strange = [name for name, value in model.items() if not (isinstance(name, str) and isinstance(value, Stored))]
    if strange:
        raise InputError(f"{path} must hold tensors only in `model`, got {strange[0]!r}; give the official checkpoint.")
    if verify:
        file.verify(model)
    tensors = _unwrapped(file.tensors(model))
    try:
        args = model_text(content["args"])
        return Checkpoint(path, sizes_from(parse_model(args), tensors), tensors, args)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that training on several GPUs puts before every key."""
    if not all(name.startswith(_WRAPPED) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(_WRAPPED): tensor for name, tensor in tensors.items()}


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if header else {}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give a file of weights.") from error
    except SafetensorError as error:
        raise InputError(
            f"{path} must be a whole safetensors file, got a damaged one ({error}); get it again."
        ) from error
    if not header:
        raise InputError(
            f"{path} must say in its header what net it is of, got no '{_HEADER}' there; make it from the official "
            "file: moonseg3r weights get cut3r-512 --from FILE.pth"
        )
    try:
        facts = read_json(header)
        sizes = _sizes(facts["sizes"])
        check_sizes(sizes)
        return Checkpoint(path, sizes, tensors, str(facts["args"]))
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path} must say its net's sizes in its header, got others ({error}); get it again."
        ) from error


def _sizes(facts: Mapping[str, Any]) -> Cut3rSizes:
    """Sizes as `asdict` gives them, through JSON; one that an older file does not name is what it was then, the default.

    Raises ValueError unless each is of its kind.
    """
    default = Cut3rSizes()
    named = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    values: dict[str, Any] = asdict(default) | named
    for field in fields(Cut3rSizes):
        if type(values.get(field.name)) is not type(getattr(default, field.name)):
            raise ValueError(f"{field.name}={values.get(field.name)!r}")
    return Cut3rSizes(**values)
