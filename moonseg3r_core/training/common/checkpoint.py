"""The checkpoint of a run: plain containers and tensors, written whole or not at all, read without running code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.atomic import explain_write_errors, write_atomically


def write_last(path: Path, recipe: Any, step: int, **parts: dict[str, Any]) -> None:
    """Write the step, the recipe (a dataclass) and the state dicts of the parts of a run. Raises OutputError."""
    advice = "make room there, then run the same again"
    with explain_write_errors(path, advice, RuntimeError), write_atomically(path) as part:  # torch's, on a full disk
        torch.save({**parts, "step": step, "recipe": asdict(recipe)}, part)


def read_last(path: Path, recipe: Any, *parts: str) -> dict[str, Any] | None:
    """Read a checkpoint, None where there is no file. Raises InputError for a damaged one, or another recipe's.

    torch's `weights_only` reader makes tensors and plain containers only, whatever the pickle names.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        others = sorted(name for name, value in asdict(recipe).items() if content["recipe"].get(name) != value)
        _ = [dict(content[name]) for name in parts], int(content["step"])
    except Exception as error:  # damaged bytes can raise anything in the reader
        raise InputError(
            f"{path} must be a whole checkpoint of this command, got a damaged or another file "
            f"({type(error).__name__}); remove it to begin again."
        ) from error
    if others:
        raise InputError(
            f"{path} must be of this recipe, got one with another {', '.join(others)}; give the recipe that stands beside "
            "it, or another folder with -o."
        )
    return content


def make_folder(path: Path, option: str) -> None:
    """Make a folder that a command line option names. Raises OutputError."""
    with explain_write_errors(f"the folder {path}", f"name another with {option}"):
        path.mkdir(parents=True, exist_ok=True)
