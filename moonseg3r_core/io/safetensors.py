"""The files of our own small nets: tensors in float16 and, in the header under the net's kind, the facts it is made by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from moonseg3r_core.errors import OutputError, WeightsError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.io.text import read_json

N = TypeVar("N", bound=nn.Module)


def write_net(path: Path, kind: str, net: nn.Module, facts: Mapping[str, Any]) -> None:
    """A net as safetensors; `path` is what it was until the new file is whole. Raises OutputError where that fails."""
    tensors = {name: tensor.detach().half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    try:
        with write_atomically(path) as part:
            safetensors.torch.save_file(tensors, part, {kind: json.dumps(facts)})
            part.chmod(0o644)  # some versions of safetensors keep it to its owner; a folder may be shared
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}; choose a folder that can be written.") from error


def read_net(path: Path, kind: str, make: Callable[[Mapping[str, Any]], N], command: str) -> N:
    """The net that `make` gives for a file's facts, in float32, ready to be asked.

    Raises WeightsError for a file that is none of this kind, which names the command that writes such.
    """
    words = kind.replace("_", " ")
    try:
        with safe_open(path, "pt") as file:
            facts = (file.metadata() or {})[kind]
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        net = _shaped(make, read_json(facts), tensors)
        net.load_state_dict(tensors, assign=True)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a file of {words} weights.") from error
    except (
        SafetensorError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise WeightsError(
            f"{path} must hold a {words} as `{command}` writes it, got one that does not: "
            f"{' '.join(str(error).split())[:200]}."
        ) from error
    return net.eval().requires_grad_(False)


def _shaped(make: Callable[[Mapping[str, Any]], N], facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> N:
    """The net without its numbers. Raises ValueError for facts beyond what the file's tensors, by their sizes, can fill."""
    most = max([len(tensors), *(side for tensor in tensors.values() if tensor.numel() for side in tensor.shape)])
    given = [number for fact in facts.values() for number in (fact if isinstance(fact, list) else [fact])]
    if any(not isinstance(number, int) or number > most for number in given):
        raise ValueError(f"facts must be whole numbers up to {most}, got {facts!r:.80}")
    with torch.device("meta"):
        return make(facts)
