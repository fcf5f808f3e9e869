"""Downloads the published files of an entry, or tells in one line why it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import InputError, MoonSeg3RError
from moonseg3r_core.weights.entry import DriveFile, Entry, HubFiles, WebFile
from moonseg3r_core.weights.publishers import (
    PublishedFile,
    describe_manual_way,
    download_from_drive,
    download_from_hub,
    download_from_web,
)

OFFLINE = ("MOONSEG3R_OFFLINE", "HF_HUB_OFFLINE")
_PUBLISHERS: dict[type, Callable[[Entry, Any, Path], list[PublishedFile]]] = {
    DriveFile: download_from_drive,
    WebFile: download_from_web,
    HubFiles: download_from_hub,
}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def download(entry: Entry, folder: Path) -> list[PublishedFile]:
    """Download an entry's published files into a folder, unverified.

    The publisher's library continues an earlier attempt in the same folder if it can. Raises MissingDependency without
    that library, InputError where nothing comes, OSError where the disk fails.
    """
    _check_online(entry)
    folder.mkdir(exist_ok=True)
    try:
        return _PUBLISHERS[type(entry.source)](entry, entry.source, folder)
    except MoonSeg3RError:
        raise
    except Exception as error:  # each library and the network have errors of their own
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise InputError(_explain(entry, error)) from error
    finally:
        with suppress(OSError):
            folder.rmdir()  # empty where nothing came


def _check_online(entry: Entry) -> None:
    """Raise InputError where the user wants no network."""
    for name in OFFLINE:
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on"):
            raise InputError(
                f"getting {entry.name} expects a network, got {name}={os.environ[name]}; unset it, or bring the files "
                f"here: {describe_manual_way(entry)}"
            )


def _explain(entry: Entry, error: Exception) -> str:
    """Tell in one line what went wrong and what to do."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    what = f"{entry.name} did not come from {entry.source.address} ({reason})"
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if entry.gated and status in _DENIED:
        return (
            f"{what}: it is given to those who accepted its licence; accept it on that page, then set HF_TOKEN or run "
            "`hf auth login`, and get it again."
        )
    return f"{what}; try again later, or {describe_manual_way(entry)}"
