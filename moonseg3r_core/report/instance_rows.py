"""`instances.json`: a row per instance, with what it looks like as a direction."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from moonseg3r_core.types import Instance, InstanceMap

DESCRIPTOR = "descriptor"
Row = dict[str, Any]


def to_text(map: InstanceMap) -> str:
    """All instances as JSON, one a line; `descriptor` is None for those that left matching."""
    rows = [dataclasses.asdict(i) | {DESCRIPTOR: direction(map.descriptors.get(i.id))} for i in map.instances]
    return "[" + ",".join("\n" + json.dumps(row) for row in rows) + "\n]\n"


def direction(query: Tensor | None) -> list[float] | None:
    """A query (D,) at unit length, to five digits; None for no query, and for one that points nowhere."""
    if query is None:
        return None
    length = float(query.double().norm())
    return [float(f"{value:.5g}") for value in (query.double() / length).tolist()] if 0 < length < np.inf else None


def instance_of(row: Row) -> Instance:
    """The plain numbers of a row. Raises TypeError for one that lacks some."""
    values: Row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    values.pop(DESCRIPTOR, None)
    return Instance(**values)


def descriptors_of(rows: Sequence[Row]) -> dict[int, np.ndarray]:
    """By id the descriptor (D,) float64, at unit length, of those that have one. Raises ValueError, KeyError."""
    found = {row["id"]: np.array(row[DESCRIPTOR], float) for row in rows if row[DESCRIPTOR] is not None}
    lengths = {id: np.linalg.norm(values) for id, values in found.items()}
    if len({values.shape for values in found.values()}) > 1 or not all(0 < n < np.inf for n in lengths.values()):
        raise ValueError("descriptors must be finite, not all zero and of one length")
    return {id: values / lengths[id] for id, values in found.items()}
