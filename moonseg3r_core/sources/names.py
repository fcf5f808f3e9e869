"""Sort files by the numbers in their names, and read numbers and times from names."""

from __future__ import annotations

import re

TICKS_PER_SECOND = {13: 1e3, 16: 1e6, 19: 1e9}  # by the number of digits of a Unix time


def make_natural_key(name: str) -> list[tuple[int, int, str]]:
    """Make a sort key with numbers in numeric order: 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def parse_numbers(stems: list[str]) -> list[int]:
    """Parse the number at the end of each name; 0, 1, 2... where a name has none or two are equal."""
    found = [re.search(r"\d{1,9}$", stem) for stem in stems]
    values = [int(match.group()) for match in found if match]
    return values if len(set(values)) == len(stems) else list(range(len(stems)))


def parse_timestamps(stems: list[str]) -> list[float] | None:
    """Parse names that are all times (1305031102.175304, or Unix time in ms, us, ns) to seconds, else None."""
    if all(re.fullmatch(r"\d+\.\d+", stem) for stem in stems):
        return [float(stem) for stem in stems]
    if all(stem.isdecimal() and len(stem) in TICKS_PER_SECOND for stem in stems):
        return [int(stem) / TICKS_PER_SECOND[len(stem)] for stem in stems]
    return None
