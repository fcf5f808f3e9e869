"""One address into one file, going on where an earlier attempt ended.

By the standard library: it asks for a part of a file and checks certificates as well as any package, and needs none.
(huggingface_hub no longer goes on with what another process began.)
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from tqdm import tqdm

TIMEOUT = 60.0  # seconds without a byte
_AGENT = {"User-Agent": "moonseg3r", "Accept-Encoding": "identity"}
_CHUNK = 1 << 20


class Refused(Exception):
    """What came is not what was asked for; nothing of it is kept."""


class Interrupted(Exception):
    """Some of it came; the next attempt goes on there."""


def bring(
    address: str, target: Path, headers: Mapping[str, str] | None = None, version: str = "", size: int | None = None
) -> None:
    """The file at an address, whole and on the disk, as `target`; what came of it before is kept beside it.

    `headers` stay with this server when it sends us elsewhere. `version` and `size` are the publisher's, where known.
    Raises Refused, Interrupted, or what urllib and the disk raise.
    """
    part, mark = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.version")
    begun = mark.read_text() if mark.is_file() else ""
    if target.is_file() and (not version or version == begun):
        return
    request = urllib.request.Request(address, headers=_AGENT)
    for name, value in (headers or {}).items():
        request.add_unredirected_header(name, value)
    if part.is_file() and begun and (not version or version == begun):
        request.add_header("Range", f"bytes={part.stat().st_size}-")
        if not version:
            request.add_header("If-Range", begun)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            have = _check(response, address, part, size)
            mark.write_text(version or _version(response))
            total = _write(response, part, have)
    except HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not part.is_file():
            raise
        part.unlink()
        return bring(address, target, headers, version, size)
    _check_length(part, size or total)
    os.replace(part, target)


def _check(response: Any, address: str, part: Path, size: int | None) -> int:
    """How many bytes are there already. Raises Refused for an answer that is not the file, OSError where it has no room."""
    if address.startswith("https:") and not response.url.startswith("https:"):
        raise Refused(f"the server sends us on to {response.url}, which is not encrypted")
    if response.headers.get_content_type() == "text/html":
        raise Refused("a web page came instead of the file")
    have = part.stat().st_size if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
    if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink()
        raise Refused("another part came than was asked for")
    if response.length is not None:
        if size not in (None, have + response.length):
            raise Refused(f"it must have {size} bytes, the server has {have + response.length}")
        if response.length > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return have


def _version(response: Any) -> str:
    """What a server calls the content it sends, if it can be asked for that content later."""
    tag = response.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag


def _write(response: Any, part: Path, have: int) -> int | None:
    """Write an answer behind the bytes that are there; how many there must be in all, if the server says so."""
    total = None if response.length is None else have + response.length
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None)
    with part.open("ab" if have else "wb") as file, bar:
        try:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            file.flush()
            raise _interrupted(part, total) from error
        file.flush()
        os.fsync(file.fileno())
    return total


def _check_length(part: Path, size: int | None) -> None:
    found = part.stat().st_size
    if size is not None and found < size:
        raise _interrupted(part, size)
    if size is not None and found > size:
        part.unlink()
        raise Refused(f"it must have {size} bytes, {found} came")


def _interrupted(part: Path, size: int | None) -> Interrupted:
    return Interrupted(f"the connection ended after {part.stat().st_size} of {size or 'unknown'} bytes")
