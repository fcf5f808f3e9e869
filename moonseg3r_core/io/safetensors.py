"""Reads and writes our own small nets: tensors in float16, and the net's sizes in the header under its kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from moonseg3r_core.errors import OutputError, WeightsError
from moonseg3r_core.io.atomic import write_atomically
from moonseg3r_core.io.text import read_json

N = TypeVar("N", bound=nn.Module)
# What reading another file or a damaged one raises.
_DAMAGE = (SafetensorError, LookupError, AttributeError, TypeError, ValueError, ArithmeticError, RuntimeError)


def write_net(path: Path, kind: str, net: nn.Module, facts: Mapping[str, Any]) -> None:
    """Replace a file of safetensors. Raises OutputError where that fails; the file stays as it was then."""
    tensors = {name: tensor.detach().half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    try:
        with write_atomically(path) as part:
            safetensors.torch.save_file(tensors, part, {kind: json.dumps(facts)})
            part.chmod(0o644)  # some versions of safetensors let only the owner read it; a folder may be shared
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}; choose a folder that can be written.") from error


def read_net(path: Path, kind: str, make: Callable[[Mapping[str, Any]], N], command: str) -> N:
    """Read the net that `make` builds from a file's facts, in float32, for inference.

    Raises WeightsError for a file of another kind or a damaged one, with the command that writes such a file.
    """
    words = kind.replace("_", " ")
    try:
        with safe_open(path, "pt") as file:
            facts = (file.metadata() or {})[kind]
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        with torch.device("meta"):
            net = make(read_json(facts))
        net.load_state_dict(tensors, assign=True)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a file of {words} weights.") from error
    except _DAMAGE as error:
        expected, reason = f"{path} must hold a {words} as `{command}` writes it", " ".join(str(error).split())[:200]
        raise WeightsError(f"{expected}, got one that does not: {reason}.") from error
    return net.eval().requires_grad_(False)
