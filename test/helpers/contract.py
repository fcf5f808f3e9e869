"""What others hold of this package, read from the code: `python test/helpers/contract.py` prints it.

`contract.json` is what was promised. Entries may be added there, when something new is promised; none may go or change.
A default may, where another one was measured to be better and CHANGELOG.md says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

PROMISED = Path(__file__).with_name("contract.json")


def read_command_line() -> dict[str, list[str]]:
    """The options and positional arguments of every command."""
    from moonseg3r_core.cli import COMMANDS, build_parser

    return {
        parser.prog: sorted(_argument_names(parser))
        for name in COMMANDS
        for parser in _leaf_parsers(_subparsers(build_parser([name]))[name])
    }


def read_settings() -> dict[str, Any]:
    """Every configuration key with its default; the ROS parameters of the core are the same."""
    from moonseg3r_core import Config, list_settings

    return {key.name: key.value for key in list_settings(Config())}


def read_run_output() -> dict[str, list[str]]:
    """The keys of what a run writes, of a map file's header and of the state in it."""
    import safetensors

    from moonseg3r_core import build_segmenter, load_config, save_map
    from moonseg3r_core.cli import main

    settings = {"reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        out, file = Path(folder) / "out", Path(folder) / "map.safetensors"
        options = [f"{name}={value}" for name, value in settings.items()]
        with redirect_stdout(sys.stderr):
            status = main(["run", "synthetic:7:4", "-o", str(out), "--quiet", "--set", *options])
        assert status == 0, status
        config = load_config(overrides=settings)
        save_map(file, build_segmenter(config), config)
        with safetensors.safe_open(file, "pt") as saved:
            header = dict(saved.metadata())
            state = sorted(saved.keys())
        return {
            "files": sorted(path.name for path in out.iterdir()),
            "summary.json": sorted(json.loads((out / "summary.json").read_text())),
            "instances.json": sorted(json.loads((out / "instances.json").read_text())[0]),
            "map file": [*sorted(header), f"format {header['moonseg3r_map']}"],
            "state_dict": state,
        }


def read_state_of_color() -> list[str]:
    """The names of the state of a segmenter that reconstructs from color."""
    from moonseg3r_core import build_segmenter, load_config

    return sorted(build_segmenter(load_config(overrides={"device": "cpu"})).state_dict())


def read_node() -> dict[str, Any]:
    """Topics, services, the node's own parameters with their defaults, and the keys of its diagnostics."""
    from builtin_interfaces.msg import Time

    from moonseg3r_core import list_settings
    from moonseg3r_ros.diagnostics.diagnose import FrameCounters, InputStatus, NodeStatus, make_status_message
    from moonseg3r_ros.interface import INPUTS, OUTPUTS, SERVICES
    from moonseg3r_ros.settings import NodeSettings

    status = NodeStatus(
        "/node", "active", InputStatus("image", "/image", ""), counters=FrameCounters(stage_ms={"masks": 1.0})
    )
    return {
        "subscribed": {topic.name: topic.type for topic in INPUTS.values()},
        "published": {topic.name: topic.type for topic in OUTPUTS.values()},
        "services": sorted(SERVICES),
        "parameters": {key.name: key.value for key in list_settings(NodeSettings())},
        "diagnostics": sorted(value.key for value in make_status_message(Time(), status).status[0].values),
        "messages": {
            path.name: [
                line.split("#")[0].split()[:2] for line in path.read_text().splitlines() if line.split("#")[0].strip()
            ]
            for path in sorted((Path(__file__).parents[2] / "msg").glob("*.msg"))
        },
    }


def find_broken(promised: Any, found: Any, name: str = "") -> Iterator[str]:
    """What was promised and is not so, in words. Lists may grow, and so may mappings."""
    if isinstance(promised, dict) and isinstance(found, dict):
        for key, value in promised.items():
            if key in found:
                yield from find_broken(value, found[key], f"{name}/{key}")
            else:
                yield f"{name}/{key} is gone"
    elif isinstance(promised, list) and isinstance(found, list):
        yield from (f"{name}: {item} is gone" for item in promised if item not in found)
    elif promised != found:
        yield f"{name} was {promised!r}, is {found!r}"


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((dict(a.choices or {}) for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


def _leaf_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    inner = _subparsers(parser)
    if not inner:
        yield parser
    for each in inner.values():
        yield from _leaf_parsers(each)


def _argument_names(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings or [f"{action.metavar or action.dest} {action.nargs or ''}".strip()]


READERS = {
    "command line": read_command_line,
    "settings": read_settings,
    "run": read_run_output,
    "state_dict of color": read_state_of_color,
    "node": read_node,
}

if __name__ == "__main__":
    print(json.dumps({part: read() for part, read in READERS.items()}, indent=1))
