"""docs/cli.md, from the parsers of the command line: `python tools/cli_page.py docs/cli.md` writes it anew."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from moonseg3r_core.cli import COMMANDS, build_parser
from moonseg3r_ros.benchmarks.command import build_parser as build_ros_bench

Parser = argparse.ArgumentParser

HEAD = """\
# The command line

Every command and option, written from the code by `tools/cli_page.py`; `moonseg3r COMMAND --help` says the same.

- A default stands in brackets. What can be repeated is followed by `...`.
- Settings (`--set`, `--config`) are the same for all commands. `moonseg3r config show` prints them, and
  [ros_reference.md](ros_reference.md#the-cores-parameters-as-in-a-configuration-file) lists them with their ranges.
- Results go to stdout. Progress, warnings and errors go to stderr, one line each;
  [troubleshooting.md](troubleshooting.md) explains them.
- Exit status: 0 done; 2 bad usage or input; 130 interrupted by Ctrl-C or SIGTERM; 1 if the reader of stdout has closed.
"""


def main(path: Path) -> None:
    """Write the page."""
    path.write_text(render_page(), encoding="utf-8")


def render_page() -> str:
    """Format the whole page in Markdown."""
    found = [(parser, help) for name in COMMANDS for parser, help in list_commands(name)]
    contents = render_table(
        ("command", "what"), *((f"[`{p.prog}`](#{p.prog.replace(' ', '-')})", help) for p, help in found)
    )
    return "\n".join([HEAD, contents, *(render_section(parser) for parser, _ in found)]).rstrip() + "\n"


def list_commands(name: str) -> Iterator[tuple[Parser, str]]:
    """Yield the parsers of a command's actions, each with its help."""
    command = get_subparsers(build_parser([name])).choices[name]
    try:
        actions = get_subparsers(command)
    except StopIteration:
        yield command, COMMANDS[name]
        return
    helps = {choice.dest: choice.help or "" for choice in actions._choices_actions}
    for action, parser in actions.choices.items():
        ros = build_ros_bench() if parser.prog == "moonseg3r bench ros" else None
        yield ros or parser, helps[action]


def get_subparsers(parser: Parser) -> argparse._SubParsersAction:
    """Find the commands below a parser. Raises StopIteration where there are none."""
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def render_section(parser: Parser) -> str:
    """Format one command: its usage, description and arguments."""
    takes = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    needed = [action for action in takes if action.required or not action.option_strings]
    usage = " ".join(
        [parser.prog, *map(_format_usage, needed), "[OPTIONS]" if len(needed) < len(takes) else ""]
    ).strip()
    rows = [(f"`{', '.join(_format_names(action))}`", action.help or "") for action in takes]
    parts = [
        f"## {parser.prog}",
        f"    {usage}",
        _wrap(parser.description),
        _wrap(parser.epilog),
        render_table(("argument", "what"), *rows) if rows else "",
    ]
    return "\n\n".join(filter(None, parts)).rstrip() + "\n"


def render_table(*rows: Sequence[str]) -> str:
    """A Markdown table whose first row is its head; free of ROS, unlike `tools/ros_tables.py`."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _wrap(text: str | None) -> str:
    """A text whose lines have at most 120 characters; shorter lines stay as they are."""
    return "\n".join("\n".join(textwrap.wrap(line, 120)) for line in (text or "").splitlines())


def _format_usage(action: argparse.Action) -> str:
    """Format an argument in the usage of a command."""
    return " ".join([*action.option_strings[:1], _format_values(action)])


def _format_names(action: argparse.Action) -> list[str]:
    values = _format_values(action)
    return [f"{name} {values}".strip() for name in action.option_strings] or [values]


def _format_values(action: argparse.Action) -> str:
    """Format the values of an option or a positional argument."""
    if action.nargs == 0:
        return ""
    shown = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else action.dest.upper())
    if isinstance(shown, tuple):
        return " ".join(shown)
    return {"?": f"[{shown}]", "*": f"[{shown} ...]", "+": f"{shown} ..."}.get(str(action.nargs), shown)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
