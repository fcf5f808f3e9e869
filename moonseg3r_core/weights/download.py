"""The published files of an entry come into a folder, or one line says why not."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moonseg3r_core.errors import InputError, MoonSeg3RError
from moonseg3r_core.weights.entry import DriveFile, Entry, HubFiles, WebFile
from moonseg3r_core.weights.publishers import Got, by_hand, from_drive, from_hub, from_web
from moonseg3r_core.weights.transfer import Interrupted

OFFLINE = ("MOONSEG3R_OFFLINE", "HF_HUB_OFFLINE")
_FROM: dict[type, Callable[[Entry, Any, Path], list[Got]]] = {
    DriveFile: from_drive,
    WebFile: from_web,
    HubFiles: from_hub,
}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def download(entry: Entry, folder: Path) -> list[Got]:
    """Bring an entry's published files into a folder, going on with what is there; what came is not checked here.

    Raises MissingDependency without the library that its publisher needs, InputError where nothing comes, OSError where
    the disk does.
    """
    check_online(entry)
    folder.mkdir(exist_ok=True)
    try:
        return _FROM[type(entry.source)](entry, entry.source, folder)
    except MoonSeg3RError:
        raise
    except Exception as error:  # the libraries' own, the network's, the disk's
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise InputError(_explain(entry, error)) from error
    finally:
        with suppress(OSError):
            folder.rmdir()  # where nothing came


def check_online(entry: Entry) -> None:
    """Raises InputError where the user wants no network."""
    for name in OFFLINE:
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on"):
            raise InputError(
                f"getting {entry.name} expects a network, got {name}={os.environ[name]}; unset it, or bring the files "
                f"here: {by_hand(entry)}"
            )


def _explain(entry: Entry, error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    what = f"{entry.name} did not come from {entry.source.address} ({_reason(error)})"
    if entry.gated and _status(error) in _DENIED:
        return (
            f"{what}: it is given to those who accepted its licence; accept it on that page, then set HF_TOKEN or run "
            "`hf auth login`, and get it again."
        )
    if isinstance(error, Interrupted):
        return f"{what}; what came is kept: the same command goes on there."
    return f"{what}; try again later, or {by_hand(entry)}"


def _reason(error: Exception) -> str:
    status, root = _status(error), _root(error)
    if status:
        return f"the server says {status} {HTTPStatus(status).phrase}"
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"the server's certificate cannot be trusted: {root.verify_message}"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return " ".join(str(error).split())[:300]


def _root(error: BaseException) -> BaseException:
    """What the system said, from under what several libraries made of it."""
    while isinstance(under := getattr(error, "reason", None) or error.__cause__ or error.__context__, BaseException):
        error = under
    return error


def _status(error: Exception) -> int | None:
    """A server's answer, as each library keeps it."""
    code = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) and code in HTTPStatus.__members__.values() else None
