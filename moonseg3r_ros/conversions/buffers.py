"""Messages made in little time: bytes without a needless copy, fields without needless defaults."""

from __future__ import annotations

import array
from copy import copy
from typing import Any, TypeVar

import numpy as np

M = TypeVar("M")


def make_buffer(size: int, dtype: np.dtype) -> tuple[array.array[int], np.ndarray]:
    """The bytes of `size` zeros of a dtype as a message takes them, and the same memory as an array to write to."""
    data = array.array("B", [0]) * (size * dtype.itemsize)
    return data, np.frombuffer(data, dtype)


def make_message(kind: type[M], **fields: Any) -> M:
    """A message that keeps the array.array assigned to its byte field.

    Since Jazzy only one that checks its fields does; the others copy, which for 300,000 points takes longer than
    filling them.
    """
    slots: tuple[str, ...] = getattr(kind, "__slots__", ())
    return kind(**fields, **({"check_fields": True} if "_check_fields" in slots else {}))


def copy_with(blank: M, **fields: Any) -> M:
    """A message like `blank` but for these fields; the others are shared, so none is to be written into.

    A constructor makes every default anew: of a Marker that takes five times as long.
    """
    message = copy(blank)
    for name, value in fields.items():
        setattr(message, name, value)
    return message
