"""The paper's settings: `config/paper.yaml`, which the benchmarks read and `moonseg3r run --config` takes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import InputError
from moonseg3r_core.settings import flatten, read_yaml


@cache
def read_paper_preset(prefix: str = "") -> dict[str, Any]:
    """Read the settings of `config/paper.yaml` whose dotted names begin with `prefix`. Raises InputError without the file."""
    settings = flatten(read_yaml(find_config("paper.yaml", Path(__file__))))
    return {name: value for name, value in settings.items() if name.startswith(prefix)}


def find_config(name: str, module: Path) -> Path:
    """Find a file of config/ from a module's path: in its repository, or in share/ of the installation that it lies in.

    Raises InputError where there is none.
    """
    folders = module.resolve().parents
    files = [folders[2] / "config" / name, *(folder / "share/moonseg3r_ros/config" / name for folder in folders)]
    for file in filter(Path.is_file, files):
        return file
    place = f"in {folders[2]} or in share/ of the installation"
    raise InputError(f"expected config/{name} {place}, got none; install again.")
