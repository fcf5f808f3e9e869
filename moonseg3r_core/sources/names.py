"""Sort numbered files."""

from __future__ import annotations

import re


def make_natural_key(name: str) -> list[tuple[int, int, str]]:
    """Make a sort key with numbers in numeric order: 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
