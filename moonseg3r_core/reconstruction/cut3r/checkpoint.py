"""Weights into the net, every key accounted for; the official checkpoints become safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.checkpoint_file import Checkpoint, read_checkpoint, write_checkpoint
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import Overwrite, StateUpdate

_IMAGE, _STATE = "dec_blocks.", "dec_blocks_state."
_NAMED = 4  # keys that an error names; the others it counts


def load_cut3r(
    path: str | Path,
    *,
    rgb_head: bool = False,
    ray_encoder: bool = False,
    rope_fp16: bool = False,
    update: StateUpdate = Overwrite(),  # noqa: B008 (without state)
) -> Cut3r:
    """The net with the weights of an official checkpoint (.pth) or of what `convert` wrote, ready for inference.

    The numbers stay in the file until they are used: it must not change meanwhile. Raises InputError for a file that is
    missing, damaged, or of another net: a key missing or unknown, another shape, a number that is not finite.
    """
    checkpoint = read_checkpoint(path)
    weights = Weights(checkpoint)
    with torch.device("meta"):
        net = Cut3r(checkpoint.sizes, rgb_head=rgb_head, ray_encoder=ray_encoder, rope_fp16=rope_fp16, update=update)
    state = weights.state_of(net)
    check_finite(checkpoint.path, state)
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval().requires_grad_(False)


def convert(source: str | Path, target: str | Path, model: str = "") -> None:
    """Write weights that `load_cut3r` takes as safetensors, each tensor once; `target` is not there until it is whole.

    Raises InputError for weights that `load_cut3r` refuses, that are not what was written, or that are of other sizes
    than `model` (a name in SIZES); OutputError where the file cannot be written.
    """
    checkpoint = read_checkpoint(source, verify=True)
    if model and checkpoint.sizes != SIZES[model]:
        different = _difference(checkpoint.sizes, SIZES[model])
        raise InputError(f"{source} must hold {model}, got a net with {different}; give that model's file.")
    weights = Weights(checkpoint)
    with torch.device("meta"):
        weights.state_of(Cut3r(checkpoint.sizes))
    check_finite(checkpoint.path, weights.tensors)
    write_checkpoint(Path(target), replace(checkpoint, tensors=weights.tensors))


class Weights:
    """A checkpoint's tensors as float32, each once, by the first of its names in the net.

    Raises InputError for a key that no net of these sizes has, another shape, or two names of one tensor that differ.
    What only the rgb head and the ray encoder use is known, and left unused by a net without them.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.path = checkpoint.path
        with torch.device("meta"):
            largest = Cut3r(checkpoint.sizes, rgb_head=True, ray_encoder=True).state_dict(keep_vars=True)
        given = _with_state_blocks(checkpoint.tensors)
        _refuse(self.path, "unknown", [name for name in given if name not in largest])
        _refuse(
            self.path,
            "of another shape",
            [_shapes(n, t, largest[n]) for n, t in given.items() if t.shape != largest[n].shape],
        )
        _refuse(self.path, "not floating-point", [n for n, t in given.items() if not t.is_floating_point()])
        numbers: dict[int, str] = {}
        self._first = {name: numbers.setdefault(id(tensor), name) for name, tensor in largest.items()}
        self.tensors: dict[str, Tensor] = {}
        for name in filter(given.__contains__, largest):
            self.tensors.setdefault(self._first[name], given[name].float())
        aliases = [name for name in given if self._first[name] != name]
        _refuse(
            self.path,
            "other than their twins",
            [n for n in aliases if not given[n].float().equal(self.tensors[self._first[n]])],
        )

    def state_of(self, net: Cut3r) -> dict[str, Tensor]:
        """What `net.load_state_dict` takes. Raises InputError where a tensor is missing."""
        names = list(net.state_dict())
        _refuse(self.path, "missing", [name for name in names if self._first[name] not in self.tensors])
        return {name: self.tensors[self._first[name]] for name in names}


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises InputError where a number is infinite or none."""
    _refuse(path, "not finite", [name for name, tensor in tensors.items() if not _is_finite(tensor)])


def _is_finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor)  # one pass without a copy; NaN comes through
    return bool(low.isfinite() & high.isfinite())


def _with_state_blocks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state's decoder begins as a copy of the image's where a checkpoint has none."""
    if any(name.startswith(_STATE) for name in tensors):
        return dict(tensors)
    copies = {_STATE + name.removeprefix(_IMAGE): t.clone() for name, t in tensors.items() if name.startswith(_IMAGE)}
    return {**tensors, **copies}


def _refuse(path: Path, fault: str, names: Sequence[str]) -> None:
    """Raises InputError that names the keys, or as many as one can read."""
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InputError(
            f"{path} must hold the weights of the net that it describes, but {len(names)} of its keys are {fault}: "
            f"{', '.join(names[:_NAMED])}{more}; get the file again."
        )


def _shapes(name: str, given: Tensor, expected: Tensor) -> str:
    return f"{name} (expected {tuple(expected.shape)}, got {tuple(given.shape)})"


def _difference(sizes: Cut3rSizes, expected: Cut3rSizes) -> str:
    """How sizes differ from those expected, in words."""
    pairs = [(field.name, getattr(sizes, field.name), getattr(expected, field.name)) for field in fields(sizes)]
    return ", ".join([f"{name} {got} instead of {wanted}" for name, got, wanted in pairs if got != wanted][:_NAMED])
