"""The tables of docs/ros_reference.md, from the code: `python -m moonseg3r_ros.tables docs/ros_reference.md` writes them anew."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from moonseg3r_core import Config, Key, list_settings
from moonseg3r_ros.interface import INPUTS, OUTPUTS, SERVICES, Topic
from moonseg3r_ros.settings import NodeSettings

BEGIN, END = "<!-- tables: written by moonseg3r_ros.tables -->", "<!-- end of tables -->"


def main(arguments: Sequence[str]) -> int:
    """Put the tables between the markers of each file; 1 when a file has no markers."""
    for path in map(Path, arguments):
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            print(f"{path} must hold the lines {BEGIN} and {END}; add them.", file=sys.stderr)
            return 1
        path.write_text(f"{before}{BEGIN}\n\n{tables()}\n{END}{after}", encoding="utf-8")
    return 0


def tables() -> str:
    """All tables in Markdown."""
    services = [(f"`{name}`", help) for name, help in SERVICES.items()]
    parts = [
        ("Subscribed", table(("topic", "type", "QoS", "what"), map(_topic, INPUTS.values()))),
        ("Published", table(("topic", "type", "QoS", "what"), map(_topic, OUTPUTS.values()))),
        ("Services (std_srvs/Trigger)", table(("service", "what"), services)),
        ("The node's parameters", parameters(list_settings(NodeSettings()))),
        ("The core's parameters, as in a configuration file", parameters(list_settings(Config()))),
    ]
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts)


def parameters(keys: Iterable[Key]) -> str:
    """One row per setting: name, default, what it may be, when it may change, what it does."""
    rows = ((f"`{k.name}`", f"`{_text(k.value)}`", _range(k), "any time" if k.live else "", k.help) for k in keys)
    return table(("parameter", "default", "values", "changes", "what"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _topic(topic: Topic) -> tuple[str, str, str, str]:
    return f"`{topic.name}`", topic.type, topic.qos, topic.help


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if value != "" else '""'


def _range(key: Key) -> str:
    bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", key.low), ("≤", key.high)) if bound is not None]
    return ", ".join(key.choices) or f"{key.type.__name__} {' and '.join(bounds)}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
