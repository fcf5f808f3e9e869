"""The files of our own small nets: tensors in float16 and, in the header under the net's kind, the facts it is made by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import nn

from moonseg3r_core.errors import OutputError, WeightsError
from moonseg3r_core.whole_file import whole_file

N = TypeVar("N", bound=nn.Module)


def write_net(path: Path, kind: str, net: nn.Module, facts: Mapping[str, Any]) -> None:
    """A net as safetensors; `path` is what it was until the new file is whole. Raises OutputError where that fails."""
    tensors = {name: tensor.detach().half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    try:
        with whole_file(path) as part:
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
        net = make(json.loads(facts))
        net.load_state_dict(tensors)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a file of {words} weights.") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} must hold a {words} as `{command}` writes it, got one that does not: "
            f"{' '.join(str(error).split())[:200]}."
        ) from error
    return net.eval().requires_grad_(False)
