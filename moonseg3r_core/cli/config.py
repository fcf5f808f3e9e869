"""`moonseg3r config show` and `moonseg3r config check`."""

from __future__ import annotations

import argparse
from typing import Any

import yaml

from moonseg3r_core.cli.common import add_config_options, read_config
from moonseg3r_core.config import Config
from moonseg3r_core.settings import Key, list_settings

_COMMENT_COLUMN = 34


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("config", description="Show or check the configuration.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print all keys as YAML, with what each means",
                              description="Print the configuration as a YAML file that `--config` takes; what is marked `live` "
                                           "may change while a map exists (a ROS parameter, say).")  # fmt: skip
    check = actions.add_parser("check", help="say whether the settings are valid",
                               description="Check settings; exit status 2 with one line when one is wrong.")  # fmt: skip
    for action, command in ((show, show_command), (check, check_command)):
        add_config_options(action)
        action.set_defaults(run=command)


def show_command(args: argparse.Namespace) -> int:
    print(format_yaml(read_config(args)))
    return 0


def check_command(args: argparse.Namespace) -> int:
    from moonseg3r_core.build import check_config

    config = read_config(args)
    check_config(config)
    defaults = {key.name: key.value for key in list_settings(Config())}
    changed = [key for key in list_settings(config) if key.value != defaults[key.name]]
    print(f"ok: {len(defaults)} settings are valid, {len(changed)} of them not at their default")
    for key in changed:
        print(f"  {key.name}: {_format_scalar(key.value)}  (default {_format_scalar(defaults[key.name])})")
    return 0


def format_yaml(config: Config) -> str:
    """Format all keys as YAML, each with its help, choices and range as a comment."""
    lines: list[str] = []
    open_sections: list[str] = []
    for key in list_settings(config):
        *sections, name = key.name.split(".")
        shared = 0
        while shared < min(len(sections), len(open_sections)) and sections[shared] == open_sections[shared]:
            shared += 1
        lines += ["  " * depth + f"{sections[depth]}:" for depth in range(shared, len(sections))]
        open_sections = sections
        setting = "  " * len(sections) + f"{name}: {_format_scalar(key.value)}"
        lines.append(f"{setting:<{_COMMENT_COLUMN}}  # {_format_comment(key)}")
    return "\n".join(lines)


def _format_comment(key: Key) -> str:
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", key.low), ("<=", key.high)) if bound is not None]
    range = f"one of {', '.join(key.choices)}" if key.choices else ", ".join(bounds)
    facts = "; ".join(filter(None, (range, "live" * key.live)))
    return key.help + (f" ({facts})" if facts else "")


def _format_scalar(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
