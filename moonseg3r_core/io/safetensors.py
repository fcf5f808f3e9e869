"""Writes tensors as safetensors, and our small nets: in float16, with their sizes in the header under their kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.io.atomic import explain_write_errors, write_atomically
from moonseg3r_core.io.text import read_json

N = TypeVar("N", bound=nn.Module)
# What reading another file or a damaged one raises.
_DAMAGE = (SafetensorError, LookupError, AttributeError, TypeError, ValueError, ArithmeticError, RuntimeError)


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    advice: str = "choose a writable folder with enough space",
    mark: str = "",
) -> None:
    """Replace a file of safetensors. Raises OutputError where that fails; the file stays as it was then.

    mark: see `write_atomically`.
    """
    with explain_write_errors(path, advice, SafetensorError), write_atomically(path, mark) as part:
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(whole, part, dict(metadata) if metadata else None)
        part.chmod(0o644)  # some versions of safetensors let only the owner read it; a folder may be shared


def write_net(path: Path, kind: str, net: nn.Module, facts: Mapping[str, Any]) -> None:
    """Replace a file of safetensors. Raises OutputError where that fails; the file stays as it was then."""
    tensors = {name: tensor.detach().half().cpu() for name, tensor in net.state_dict().items()}
    save_tensors(path, tensors, {kind: json.dumps(facts)})


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
