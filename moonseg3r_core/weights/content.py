"""Whether a published file is whole, as far as its kind lets one see without running anything in it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.io.text import read_json

_PICKLE = b"\x80\x02"  # as torch.save began its files before torch 1.6; their end cannot be told


def check_content(file: Path, name: str) -> None:
    """Raises WeightsError for a file that is damaged, cut, or of another kind than the name it is published under says."""
    test = _TESTS.get(Path(name).suffix)
    fault = test(file) if test else ""
    if fault:
        raise WeightsError(f"{file} must be a whole {name}, got {_web_page(file) or fault}; get it again.")


def _json(file: Path) -> str:
    try:
        return "" if isinstance(read_json(file.read_bytes()), dict) else "other data"
    except ValueError as error:
        return f"a damaged one ({error})"


def _safetensors(file: Path) -> str:
    """The header says how long the file must be."""
    try:
        with safe_open(file, "pt"):
            return ""
    except SafetensorError as error:
        return f"a damaged one ({error})"


def _torch(file: Path) -> str:
    """An archive with a checksum for every part, its table of contents at the end."""
    try:
        if not zipfile.is_zipfile(file):
            with file.open("rb") as opened:
                return "" if opened.read(2) == _PICKLE else "the beginning of one, or a file of another kind"
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except Exception as error:  # what damaged bytes make of their readers can be any
        return f"a damaged one ({str(error)[:200]})"
    return f"a damaged one ({damaged})" if damaged else ""


def _web_page(file: Path) -> str:
    with file.open("rb") as opened:
        begin = opened.read(64).lstrip().lower()
    return "a web page, as a server sends instead of a file" if begin.startswith((b"<!doctype", b"<html")) else ""


_TESTS: dict[str, Callable[[Path], str]] = {
    ".json": _json,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
}
