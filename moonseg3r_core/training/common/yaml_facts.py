"""Frozen dataclasses of what a YAML file holds, every value read as its field's type, every mistake told in a line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from moonseg3r_core.errors import ConfigError

T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a number", str: "text"}


def made(kind: type[T], facts: Any, where: str = "") -> T:
    """A dataclass of facts; `where` is what they are in the file. Raises ConfigError for unknown and missing keys.

    Numbers may be written as text: to YAML 1.1 8e-4 is none, for it lacks a point.
    """
    facts, hints = _mapping(facts, where), get_type_hints(kind)
    for name in facts:
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1, cutoff=0.0)[0]
            raise ConfigError(f"unknown key '{where}{name}'; did you mean '{where}{near}'?")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING and field.name not in facts:
            raise ConfigError(f"{where}{field.name} is missing; see config/train_nano.yaml.")
    return kind(**{name: _as(hints[name], given, where + name) for name, given in facts.items()})


def plain(facts: Any) -> Any:
    """Facts as YAML holds them: mappings and lists alone."""
    if isinstance(facts, Mapping):
        return {name: plain(fact) for name, fact in facts.items()}
    return [plain(fact) for fact in facts] if isinstance(facts, (list, tuple)) else facts


def _as(kind: Any, given: Any, where: str) -> Any:
    if is_dataclass(kind):
        return made(kind, given, f"{where}.")  # type: ignore[arg-type]
    if get_origin(kind) is dict:
        return dict(_mapping(given, where))
    if get_origin(kind) is tuple:
        if not isinstance(given, list):
            raise ConfigError(f"{where} must be a list, got {given!r}.")
        return tuple(_as(get_args(kind)[0], item, f"{where}[{number}]") for number, item in enumerate(given))
    try:
        return _number(kind, given) if kind in (int, float) else _text(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where} must be {_WORDS[kind]}, got {given!r}.") from error


def _number(kind: type[int] | type[float], given: Any) -> int | float:
    """An int or a finite float. Raises ValueError for what is none, True and False among it."""
    number = float(_text(given)) if not isinstance(given, (int, float)) else given
    if isinstance(given, bool) or not math.isfinite(number) or kind(number) != number:
        raise ValueError
    return kind(number)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError
    return given


def _mapping(facts: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(facts, Mapping):
        raise ConfigError(
            f"{where.rstrip('.')} must be keys and values, got {facts!r:.60}; see config/train_nano.yaml."
        )
    return facts
