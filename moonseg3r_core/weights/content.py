"""Checks whether a published file is whole, as far as its kind allows without running anything in it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.io.text import read_json

_PICKLE = b"\x80\x02"  # first bytes of torch.save before 1.6; such a file does not show whether it is whole


def check_content(file: Path, name: str) -> None:
    """Raise WeightsError for a file that is damaged, cut, or of another kind than its published name says."""
    inspect = _INSPECTIONS.get(Path(name).suffix)
    fault = inspect(file) if inspect else ""
    if fault:
        found = "a web page, as a server sends instead of a file" if _is_web_page(file) else fault
        raise WeightsError(f"{file} must be a whole {name}, got {found}; get it again.")


def _inspect_json(file: Path) -> str:
    try:
        return "" if isinstance(read_json(file.read_bytes()), dict) else "other data"
    except ValueError as error:
        return f"a damaged one ({error})"


def _inspect_safetensors(file: Path) -> str:
    """The header tells how long the file must be."""
    try:
        with safe_open(file, "pt"):
            return ""
    except SafetensorError as error:
        return f"a damaged one ({error})"


def _inspect_torch(file: Path) -> str:
    """A file of torch.save is an archive with a checksum for every part and its table of contents at the end."""
    try:
        if not zipfile.is_zipfile(file):
            with file.open("rb") as opened:
                return "" if opened.read(2) == _PICKLE else "the beginning of one, or a file of another kind"
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except Exception as error:  # damaged bytes make the readers raise anything
        return f"a damaged one ({str(error)[:200]})"
    return f"a damaged one ({damaged})" if damaged else ""


def _is_web_page(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(64).lstrip().lower().startswith((b"<!doctype", b"<html"))


_INSPECTIONS: dict[str, Callable[[Path], str]] = {
    ".json": _inspect_json,
    ".safetensors": _inspect_safetensors,
    ".pt": _inspect_torch,
    ".pth": _inspect_torch,
}
