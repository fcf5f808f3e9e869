"""Format and parse `instances.json`: one row per instance, with its descriptor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from moonseg3r_core.types import Instance, InstanceMap

DESCRIPTOR = "descriptor"
_VECTORS = ("centroid", "box_min", "box_max")
_MAX_NUMBER = 2**53  # integers below are exact in float64
Row = dict[str, Any]


def format_instances(map: InstanceMap) -> str:
    """Format all instances as JSON, one per line; `descriptor` is None for retired instances."""
    descriptors = (normalize_descriptor(map.descriptors.get(i.id)) for i in map.instances)
    rows = [asdict(i) | {DESCRIPTOR: values} for i, values in zip(map.instances, descriptors, strict=True)]
    return "[" + ",".join("\n" + json.dumps(row) for row in rows) + "\n]\n"


def normalize_descriptor(query: Tensor | None) -> list[float] | None:
    """Normalize a query (D,) to unit length, five digits; None for no query, a zero query or a non-finite one."""
    if query is None:
        return None
    length = float(query.double().norm())
    return [float(f"{value:.5g}") for value in (query.double() / length).tolist()] if 0 < length < np.inf else None


def parse_instance(row: Row) -> Instance:
    """Parse a row. Raises TypeError for missing or unknown fields, ValueError for invalid values."""
    values: Row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    values.pop(DESCRIPTOR, None)
    instance = Instance(**values)
    for name, value in values.items():
        _check(name, value)
    return instance


def _check(name: str, value: Any) -> None:
    """Check one field: three finite numbers, a score of any value, or a count. Raises ValueError."""
    numbers = value if name in _VECTORS and isinstance(value, tuple) and len(value) == 3 else (value,)
    kinds = (int, float) if name in (*_VECTORS, "score") else (int,)
    sound = (name not in _VECTORS or numbers is value) and all(type(number) in kinds for number in numbers)
    if not sound or (name != "score" and not all(abs(number) < _MAX_NUMBER for number in numbers)):
        raise ValueError(f"{name} must be {'three numbers' if name in _VECTORS else 'a number'}, got {value!r:.40}")


def parse_descriptors(rows: Sequence[Row]) -> dict[int, np.ndarray]:
    """Parse the descriptors by id: (D,) float64 of unit length. Raises ValueError, KeyError."""
    found = {row["id"]: np.array(row[DESCRIPTOR], float) for row in rows if row[DESCRIPTOR] is not None}
    if any(values.ndim != 1 for values in found.values()):
        raise ValueError("descriptors must be lists of numbers and of one length")
    lengths = {id: np.linalg.norm(values) for id, values in found.items()}
    if len({values.shape for values in found.values()}) > 1 or not all(0 < n < np.inf for n in lengths.values()):
        raise ValueError("descriptors must be finite, not all zero and of one length")
    return {id: values / lengths[id] for id, values in found.items()}
