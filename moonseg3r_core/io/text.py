"""JSON and YAML that anyone may have written: the plain values in it, or a ValueError of one line that says why not."""

from __future__ import annotations

import json
from typing import Any

import yaml


def read_json(text: str | bytes) -> Any:
    """The value that JSON holds. Raises ValueError for text that is none, or nested deeper than Python follows."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_yaml(text: str) -> Any:
    """The value that YAML holds; no part of it may stand for another, a few lines of which can mean more than a memory.

    Raises ValueError for text that is none, or of which a value is not what it is tagged or looks like (2024-13-45).
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # what damaged text makes of the reader's many constructors can be any
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "an alias stands for another part", event.start_mark)
        return super().compose_node(parent, index)
