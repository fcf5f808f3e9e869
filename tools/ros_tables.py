"""The tables of docs/ros_reference.md: `python tools/ros_tables.py docs/ros_reference.md` writes them from the code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from moonseg3r_core import Config, Key, list_settings
from moonseg3r_ros.interface import INPUTS, OUTPUTS, SERVICES, Topic
from moonseg3r_ros.settings import NodeSettings

BEGIN, END = "<!-- tables: written by tools/ros_tables.py -->", "<!-- end of tables -->"


def main(arguments: Sequence[str]) -> int:
    """Put the tables between the markers of each file; 1 when a file has no markers."""
    for path in map(Path, arguments):
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            print(f"{path} must hold the lines {BEGIN} and {END}; add them.", file=sys.stderr)
            return 1
        path.write_text(f"{before}{BEGIN}\n\n{write_tables()}\n{END}{after}", encoding="utf-8")
    return 0


def write_tables() -> str:
    """Write all tables in Markdown."""
    services = [(f"`{name}`", help) for name, help in SERVICES.items()]
    parts = [
        ("Subscribed", write_table(("topic", "type", "QoS", "what"), map(_make_row, INPUTS.values()))),
        ("Published", write_table(("topic", "type", "QoS", "what"), map(_make_row, OUTPUTS.values()))),
        ("Services (std_srvs/Trigger)", write_table(("service", "what"), services)),
        ("The node's parameters", write_parameters(list_settings(NodeSettings()))),
        ("The core's parameters, as in a configuration file", write_parameters(list_settings(Config()))),
    ]
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts)


def write_parameters(keys: Iterable[Key]) -> str:
    """Write a row per setting: name, default, what it may be, when it may change, what it does."""
    rows = (
        (f"`{k.name}`", f"`{_format_value(k.value)}`", _format_range(k), "any time" if k.live else "", k.help)
        for k in keys
    )
    return write_table(("parameter", "default", "values", "changes", "what"), rows)


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _make_row(topic: Topic) -> tuple[str, str, str, str]:
    return f"`{topic.name}`", topic.type, topic.qos, topic.help


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if value != "" else '""'


def _format_range(key: Key) -> str:
    bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", key.low), ("≤", key.high)) if bound is not None]
    return ", ".join(key.choices) or f"{key.type.__name__} {' and '.join(bounds)}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
