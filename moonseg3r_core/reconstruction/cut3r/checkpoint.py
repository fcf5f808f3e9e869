"""Files of CUT3R's weights: the official pickles, read without running them, and our safetensors.

Every tensor is accounted for: a missing, unknown or misshapen one is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.io.safetensors import save_tensors
from moonseg3r_core.io.text import read_json
from moonseg3r_core.io.torch_checkpoint import load_checkpoint
from moonseg3r_core.reconstruction.cut3r.args import find_model_line, parse_model, parse_sizes, read_sizes
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import Overwrite, StateUpdate

SUFFIX = ".safetensors"
_HEADER = "cut3r"  # the only entry in the file's header: several would change their order from file to file
_PARALLEL = "module."  # the prefix of every key where several GPUs trained
_IMAGE, _STATE = "dec_blocks.", "dec_blocks_state."
_NAMED = 4  # keys that an error names; it counts the others


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights: the net's sizes, its tensors by key, and the training's own text about the net."""

    path: Path
    sizes: Cut3rSizes
    tensors: Mapping[str, Tensor]
    args: str


def load_cut3r(
    path: str | Path, *, rgb_head: bool = False, ray_encoder: bool = False, rope_fp16: bool = False,
    update: StateUpdate = Overwrite(),  # noqa: B008 (without state)
) -> Cut3r:  # fmt: skip
    """Load a net, ready for inference, from an official checkpoint (.pth) or from a file of `convert`.

    The numbers stay in the file until they are used: it must not change meanwhile. Raises InputError for a file that is
    missing, damaged, or of another net.
    """
    checkpoint = read_checkpoint(path)
    weights = Weights(checkpoint)
    with torch.device("meta"):
        net = Cut3r(checkpoint.sizes, rgb_head=rgb_head, ray_encoder=ray_encoder, rope_fp16=rope_fp16, update=update)
    state = weights.select(net)
    _check_finite(checkpoint.path, state)
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval().requires_grad_(False)


def convert(source: str | Path, target: str | Path, model: str = "") -> None:
    """Write the weights of a file that `load_cut3r` reads as safetensors, each tensor once.

    `model` is a name in SIZES that the weights must fit. Raises InputError as `load_cut3r` does, OutputError where the
    file cannot be written.
    """
    checkpoint = read_checkpoint(source)
    if model and checkpoint.sizes != SIZES[model]:
        different = _describe_difference(checkpoint.sizes, SIZES[model])
        raise InputError(f"{source} must hold {model}, got a net with {different}; give that model's file.")
    weights = Weights(checkpoint)
    with torch.device("meta"):
        weights.select(Cut3r(checkpoint.sizes))
    _check_finite(checkpoint.path, weights.tensors)
    write_checkpoint(Path(target), replace(checkpoint, tensors=weights.tensors))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file's sizes and map its tensors. Raises InputError for a missing or damaged file, or one of another net."""
    path = Path(path)
    return _read_safetensors(path) if path.suffix == SUFFIX else _read_official(path)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace a file of safetensors. Raises OutputError where that fails; the file stays as it was then."""
    header = json.dumps({"sizes": asdict(checkpoint.sizes), "args": checkpoint.args}, sort_keys=True)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, checkpoint.tensors, {_HEADER: header})


class Weights:
    """A checkpoint's tensors as float32, each once, under the first of its names in the net.

    A net without the rgb head or the ray encoder leaves their tensors unused. Raises InputError for a key that no net of
    these sizes has, another shape, or two names of one tensor with different numbers.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.path = checkpoint.path
        self._layout = _find_layout(checkpoint.sizes)
        given = _add_state_blocks(checkpoint.tensors)
        _refuse(self.path, "unknown", [name for name in given if name not in self._layout])
        pairs = [(name, self._layout[name][1], tensor.shape) for name, tensor in given.items()]
        misshapen = [f"{n} (expected {tuple(wanted)}, got {tuple(got)})" for n, wanted, got in pairs if got != wanted]
        _refuse(self.path, "of another shape", misshapen)
        _refuse(self.path, "not floating-point", [n for n, t in given.items() if not t.is_floating_point()])
        self.tensors: dict[str, Tensor] = {}
        for name in filter(given.__contains__, self._layout):
            self.tensors.setdefault(self._layout[name][0], given[name].float())
        second = [name for name in given if self._layout[name][0] != name]
        different = [name for name in second if not given[name].float().equal(self.tensors[self._layout[name][0]])]
        _refuse(self.path, "other than their twins", different)

    def select(self, net: Cut3r) -> dict[str, Tensor]:
        """Select what `net.load_state_dict` takes. Raises InputError where a tensor is missing."""
        first = {name: self._layout[name][0] for name in net.state_dict()}
        _refuse(self.path, "missing", [name for name in first if first[name] not in self.tensors])
        return {name: self.tensors[first[name]] for name in first}


@cache
def _find_layout(sizes: Cut3rSizes) -> Mapping[str, tuple[str, torch.Size]]:
    """Find the tensors of the largest net of these sizes: by name the first name of the same tensor, and its shape."""
    with torch.device("meta"):
        largest = Cut3r(sizes, rgb_head=True, ray_encoder=True).state_dict(keep_vars=True)
    first: dict[int, str] = {}
    return {name: (first.setdefault(id(tensor), name), tensor.shape) for name, tensor in largest.items()}


def _read_official(path: Path) -> Checkpoint:
    """Read `model` and `args` of a file that CUT3R's training wrote; the optimizer stays in the file."""
    content = load_checkpoint(path)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model or "args" not in content:
        found = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"{path} must hold `model` and `args` as CUT3R's training writes them, got {found}; give that file."
        )
    strange = [name for name, value in model.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if strange:
        raise InputError(f"{path} must hold tensors only in `model`, got {strange[0]!r}; give the official checkpoint.")
    parallel = all(name.startswith(_PARALLEL) for name in model)
    tensors = {name.removeprefix(_PARALLEL) if parallel else name: tensor for name, tensor in model.items()}
    try:
        args = find_model_line(content["args"])
        return Checkpoint(path, read_sizes(parse_model(args), tensors), tensors, args)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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
        return Checkpoint(path, parse_sizes(facts["sizes"]), tensors, str(facts["args"]))
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path} must say its net's sizes in its header, got others ({error}); get it again."
        ) from error


def _add_state_blocks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy the image decoder's blocks for the state's decoder where a checkpoint has none, as CUT3R begins it."""
    if any(name.startswith(_STATE) for name in tensors):
        return dict(tensors)
    copies = {_STATE + name.removeprefix(_IMAGE): t.clone() for name, t in tensors.items() if name.startswith(_IMAGE)}
    return {**tensors, **copies}


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    extremes = ((name, torch.aminmax(tensor)) for name, tensor in tensors.items())  # one pass; NaN comes through
    _refuse(path, "not finite", [name for name, (a, b) in extremes if not a.isfinite() & b.isfinite()])


def _refuse(path: Path, fault: str, names: Sequence[str]) -> None:
    """Raise InputError that names the first of these keys; none is no fault."""
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InputError(
            f"{path} must hold the weights of the net that it describes, but {len(names)} of its keys are {fault}: "
            f"{', '.join(names[:_NAMED])}{more}; get the file again."
        )


def _describe_difference(sizes: Cut3rSizes, expected: Cut3rSizes) -> str:
    pairs = [(field.name, getattr(sizes, field.name), getattr(expected, field.name)) for field in fields(sizes)]
    return ", ".join([f"{name} {got} instead of {wanted}" for name, got, wanted in pairs if got != wanted][:_NAMED])
