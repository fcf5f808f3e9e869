"""Reads JSON and YAML to plain values, or raises a ValueError of one line."""

from __future__ import annotations

import json
from typing import Any

import yaml


def read_json(text: str | bytes) -> Any:
    """Read the value in JSON. Raises ValueError for other text, or for deeper nesting than Python follows."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_yaml(text: str) -> Any:
    """Read the value in YAML without aliases, of which a few lines can expand to more than the memory holds.

    Raises ValueError for other text, or a value that is not what it looks like (2024-13-45).
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # damaged text makes the reader's constructors raise anything
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "an alias stands for another part", event.start_mark)
        return super().compose_node(parent, index)
