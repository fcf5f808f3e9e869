"""A map on disk: the whole state of a segmenter in one safetensors file, written atomically."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from moonseg3r_core import __version__
from moonseg3r_core.config import Config
from moonseg3r_core.errors import InputError
from moonseg3r_core.io.atomic import explain_write_errors, write_atomically
from moonseg3r_core.io.text import read_json
from moonseg3r_core.resolve import UNKNOWN, RecordingFacts, resolve
from moonseg3r_core.settings import flatten, list_settings, overlay, to_dict
from moonseg3r_core.stages import Stateful

FORMAT = "2"
_FORMAT, _PACKAGE, _NOTES, _CHECKSUM = "moonseg3r_map", "package", "notes", "crc32"
# The configuration resolved, and as it was requested; files of 0.1.0 have the latter as `config` and nothing else.
_CONFIG, _REQUESTED = "config", "requested"
_ANYWHERE = ("device", "seed")  # a map does not depend on where it was made
_AS_REQUESTED = "memory.index.cell"  # what 0 is resolved to follows from the image's size


def save_map(
    path: str | Path, segmenter: Stateful, config: Config, notes: Mapping[str, str] | None = None,
    recording: RecordingFacts = UNKNOWN,
) -> None:  # fmt: skip
    """Write the state of a segmenter of this configuration, with the caller's own notes.

    Whenever the process is killed, `path` is the former file or the new one. Raises OutputError where it cannot be written.
    """
    state = segmenter.state_dict()
    facts = {
        _FORMAT: FORMAT, _PACKAGE: __version__, _CHECKSUM: _compute_checksum(state),
        _CONFIG: json.dumps(to_dict(resolve(config, recording))), _REQUESTED: json.dumps(to_dict(config)),
        _NOTES: json.dumps(dict(notes or {})),
    }  # fmt: skip
    with explain_write_errors(path, "choose a file in a folder that can be written"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(Path(path)) as part:
            part.write_bytes(safetensors.torch.save(state, facts))


def load_map(path: str | Path, segmenter: Stateful, config: Config) -> dict[str, str]:
    """Load a file into a segmenter of this configuration, and return the notes in it.

    Raises InputError for a file that is missing, damaged, of another format or made with other settings; the segmenter is
    unchanged then.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file that save_map wrote.") from error
    facts = _read_header(data)
    if _FORMAT not in facts:
        found = "another file or the beginning of one"
        raise InputError(f"{path} must be a map that save_map wrote, got {found}; give another file.")
    if facts[_FORMAT] != FORMAT:
        raise InputError(
            f"{path} must be a map of format {FORMAT}, got format {facts[_FORMAT]} of version "
            f"{facts.get(_PACKAGE, '?')}; load it with that version, or map anew."
        )
    try:
        settings = {name: flatten(read_json(facts[name])) for name in (_CONFIG, _REQUESTED) if name in facts}
        notes = dict(read_json(facts[_NOTES]))
        state = safetensors.torch.load(data)
        whole = facts[_CHECKSUM] == _compute_checksum(state)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(_describe_damage(path, str(error))) from error
    if not whole:
        raise InputError(_describe_damage(path, "other numbers than were written"))
    _check_settings(path, settings[_CONFIG], settings.get(_REQUESTED), config)
    try:
        segmenter.load_state_dict(state)
    except InputError as error:
        raise InputError(_describe_damage(path, str(error))) from error
    return notes


def _read_header(data: bytes) -> dict[str, str]:
    """Read the metadata in the header of a safetensors file; empty where there is no header."""
    try:
        header = read_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header["__metadata__"])
    except (ValueError, KeyError, TypeError):
        return {}


def _check_settings(
    path: str | Path, saved: Mapping[str, Any], requested: Mapping[str, Any] | None, config: Config
) -> None:
    """Raise InputError where a setting that a map depends on was resolved to another value."""
    if requested is None:
        requested, saved = saved, _resolve_settings(path, saved)
    differ = []
    for own, resolved in zip(list_settings(config), list_settings(resolve(config)), strict=True):
        there, here = (requested, own.value) if own.name == _AS_REQUESTED else (saved, resolved.value)
        if not own.live and own.name not in _ANYWHERE and there.get(own.name, here) != here:
            differ.append(f"{own.name} is {there[own.name]} there and {here} here")
    if differ:
        raise InputError(
            f"{path} must be a map of the same settings, but {', '.join(differ)}; set what the file has, or map anew."
        )


def _resolve_settings(path: str | Path, requested: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve the settings of a file of 0.1.0."""
    known = {key.name for key in list_settings(Config())} - {*_ANYWHERE}
    config = overlay(Config(), {name: value for name, value in requested.items() if name in known}, str(path))
    return {key.name: key.value for key in list_settings(resolve(config))}


def _compute_checksum(state: Mapping[str, Tensor]) -> str:
    """Compute the CRC-32 of all tensors in the order of their names; safetensors itself has no checksum."""
    checksum = 0
    for name in sorted(state):
        checksum = zlib.crc32(state[name].numpy().tobytes(), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"


def _describe_damage(path: str | Path, found: str) -> str:
    return f"{path} must be a whole map, got a damaged one: {found.rstrip('.')}; save it again, or map anew."
