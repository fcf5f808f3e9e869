"""Settings as frozen dataclasses with dotted names (`masks.regions.scale`): declare, list, change and read them.

A field's metadata has a `help` text, and `choices` or the bounds `low` and `high`. A `live` setting may change while a map
exists, the others may not.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.io import text as plain_text

# What sections of published networks have in common (io/huggingface.py loads these).
PRECISIONS = ("float32", "bfloat16", "float16")
PRECISION = "numbers inside the net; what comes out is float32"
WEIGHTS = "installed weights (moonseg3r weights list), or a folder with config.json and model.safetensors"

C = TypeVar("C")
_MAX_QUOTED = 80  # characters of a value in an error line


def value(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    live: bool = False,
) -> Any:
    """Declare a field with its `help`, the `choices` or the inclusive range of its values, and whether it is `live`."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high, "live": live})


def live(default: Any, help: str, **facts: Any) -> Any:
    """Declare a `value` that may change while a map exists, because no saved state depends on it."""
    return value(default, help, live=True, **facts)


def section(cls: type) -> Any:
    """Declare a field that holds a nested section."""
    return field(default_factory=cls)


@dataclass(frozen=True)
class Kind:
    """An implementation that a section's `kind` names.

    factory: `module:function`, imported when it is needed, called with the settings of the kind's own section and those
    `fields` of the section above it. image_only: it reads nothing of the geometry but its grid, so that it can run
    beside the reconstruction. device: its factory takes a device too.
    """

    factory: str
    image_only: bool = False
    device: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """One setting: its dotted name, its value, and the field's metadata."""

    name: str
    value: Any
    type: type
    help: str
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    live: bool


def list_settings(config: Any, prefix: str = "") -> Iterator[Key]:
    """List every setting of a configuration in the order of its definition."""
    hints = get_type_hints(type(config))
    for f in fields(config):
        item = getattr(config, f.name)
        if is_dataclass(item):
            yield from list_settings(item, f"{prefix}{f.name}.")
        else:
            yield Key(f"{prefix}{f.name}", item, hints[f.name], **f.metadata)


def fixed_changes(old: C, new: C) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ and may not while a map exists: name -> old and new value."""
    pairs = zip(list_settings(old), list_settings(new), strict=True)
    return {a.name: (a.value, b.value) for a, b in pairs if a.value != b.value and not a.live}


def overlay(config: C, settings: Mapping[str, Any], origin: str = "settings") -> C:
    """Return a copy of `config` with dotted `settings` replaced; text is converted to the setting's own type."""
    known = {key.name: key for key in list_settings(config)}
    for name, given in settings.items():
        if name not in known:
            hint = "`moonseg3r config show` lists all keys."
            raise ConfigError(f"{origin}: {_describe_unknown(name, known)} {hint}")
        config = _replace(config, name.split("."), _convert(known[name], given, origin))
    return config


def make_settings(kind: type[C], values: Any, origin: str, prefix: str = "") -> C:
    """Make a dataclass from nested plain values. Raises ConfigError for an unknown, missing or wrong one.

    A field that a subclass declares anew without `value` keeps the range that its base class gave it.
    """
    given, hints = _require_mapping(values, origin, prefix.removesuffix(".")), get_type_hints(kind)
    for name in given:
        if name not in hints:
            raise ConfigError(f"{origin}: {_describe_unknown(str(name), hints, prefix)}")
    for f in fields(kind):  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in given:
            raise ConfigError(f"{origin}: {prefix}{f.name} is missing; give the {_find_facts(kind, f.name)['help']}.")
    made = {
        name: _make_value(Key(f"{prefix}{name}", item, hints[name], **_find_facts(kind, name)), origin)
        for name, item in given.items()
    }
    return kind(**made)


def parse_set(items: list[str]) -> dict[str, Any]:
    """Parse `["masks.kind=regions"]` to settings. Raises ConfigError for an item without `=`."""
    pairs = [item.partition("=") for item in items]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--set expects key=value, got '{name}'; for example --set masks.kind=regions")
    return {name.strip(): text for name, _, text in pairs}


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten `{"masks": {"kind": "regions"}}` to `{"masks.kind": "regions"}`; dotted keys may be mixed in."""
    flat: dict[str, Any] = {}
    for name, item in nested.items():
        flat |= flatten(item, f"{prefix}{name}.") if isinstance(item, Mapping) else {f"{prefix}{name}": item}
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    """Return the nested plain values, ready for YAML or JSON."""
    return dataclasses.asdict(config)


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read the keys and values of a YAML file. Raises ConfigError for another file; an empty one has none."""
    try:
        content = plain_text.read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give the path of a YAML file.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"{path} must hold keys and values, got a {type(content).__name__}; write `name: value` lines."
        )
    return content


def _replace(config: Any, path: list[str], new: Any) -> Any:
    head, *rest = path
    return dataclasses.replace(config, **{head: _replace(getattr(config, head), rest, new) if rest else new})


def _make_value(key: Key, origin: str) -> Any:
    """Make the value of a field of any type from `key.value`."""
    if is_dataclass(key.type):
        return make_settings(key.type, key.value, origin, f"{key.name}.")
    if get_origin(key.type) is dict:
        return dict(_require_mapping(key.value, origin, key.name))
    if get_origin(key.type) is tuple:
        if not isinstance(key.value, list):
            raise ConfigError(f"{origin}: {key.name} must be a list, got {key.value!r:.{_MAX_QUOTED}}.")
        item = dataclasses.replace(key, type=get_args(key.type)[0])
        items = [dataclasses.replace(item, name=f"{key.name}[{n}]", value=v) for n, v in enumerate(key.value)]
        return tuple(_make_value(item, origin) for item in items)
    return _convert(key, key.value, origin)


def _find_facts(kind: type, name: str) -> Mapping[str, Any]:
    """Find the metadata of a field in the first class that has any; a plain field has none."""
    declared = [f for base in kind.__mro__ if is_dataclass(base) for f in fields(base) if f.name == name and f.metadata]
    return declared[0].metadata if declared else value(None, name).metadata


def _require_mapping(given: Any, origin: str, name: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{origin}: {name} must be keys and values, got {given!r:.{_MAX_QUOTED}}.")
    return given


def _describe_unknown(name: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name[:_MAX_QUOTED], known, n=1, cutoff=0.0)
    return f"unknown key '{prefix}{name[:_MAX_QUOTED]}'; did you mean '{prefix}{near[0]}'?"


def _convert(key: Key, given: Any, origin: str) -> Any:
    wanted = f"{origin}: {key.name} must be {_describe_values(key)}, got {given!r:.{_MAX_QUOTED}}"
    try:
        converted = _convert_type(key.type, given)
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise ConfigError(f"{wanted}.") from error
    if key.choices and converted not in key.choices:
        near = difflib.get_close_matches(str(given)[:_MAX_QUOTED], key.choices, n=1, cutoff=0.5)
        raise ConfigError(f"{wanted}; did you mean {near[0]!r}?" if near else f"{wanted}.")
    if key.type in (int, float) and not _is_in_range(converted, key):
        raise ConfigError(f"{wanted}.")
    return converted


def _is_in_range(number: float, key: Key) -> bool:
    """Return whether a number is within the key's bounds and those of 64 bits; NaN never is."""
    low = -(2.0**63) if key.low is None else key.low
    high = math.nextafter(2.0**63, 0) if key.high is None else key.high
    return low <= number <= high


def _convert_type(wanted: type, given: Any) -> Any:
    if wanted is bool:
        return {"true": True, "false": False}[str(given).lower()]
    if isinstance(given, bool) or (wanted is str and not isinstance(given, str)):
        raise ValueError
    if wanted is int and isinstance(given, float) and given != int(given):
        raise ValueError
    return wanted(given)


def _describe_values(key: Key) -> str:
    if key.choices:
        return "one of " + ", ".join(key.choices)
    kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[key.type]
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", key.low), ("<=", key.high)) if bound is not None]
    return " ".join([kind, " and ".join(bounds)]).strip()
