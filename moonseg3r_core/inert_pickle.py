"""What stands in a pickle, read without running any of it: plain values, tensors by their place, the rest inert.

A pickle is a program that may call whatever it names. Here nothing outside this file can be named: every name but those
of plain containers and of torch's tensors becomes an `Inert`, which keeps what it is given and does nothing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}


@dataclass(frozen=True)
class Storage:
    """One run of numbers beside the pickle, by its name there; dtype None: of a kind that is not known here."""

    dtype: torch.dtype | None
    key: Any


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies. As the pickle says it, which may be nonsense: whoever reads it checks it."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class Plain(dict):
    """An OrderedDict without the attributes that torch hangs on it."""

    def __setstate__(self, state: Any) -> None:
        pass


class Inert:
    """What an unknown class or function would have made: its `arguments` and `state`, not looked at."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        inert = super().__new__(cls)
        inert.arguments, inert.state = arguments, None
        return inert

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = add = append


def read_inert(data: bytes) -> Any:
    """The value that a pickle of torch.save holds: plain containers and numbers, tensors as `Stored`, all else `Inert`.

    Raises ValueError for what is no sound pickle.
    """
    try:
        _check_memo(data)
        return _Reader(io.BytesIO(data)).load()
    except Exception as error:  # what damaged bytes make of the unpickler can be any
        raise ValueError(f"no sound pickle ({error})") from error


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """A new thing at every call, for a pickle can hang attributes on what it is given."""
        if (module, name) == ("collections", "OrderedDict"):
            return Plain
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return _maker(module, name) or type("Inert", (Inert,), {})

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise ValueError("an outside object that is no storage")
        return Storage(dtype if isinstance(dtype, torch.dtype) else None, key)


def _maker(module: str, name: str) -> Callable[..., Any] | None:
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return lambda storage, offset, size, stride, *_: Stored(storage, offset, size, stride)
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
        return lambda tensor, *_: tensor
    return None


def _check_memo(data: bytes) -> None:
    """Refuse to remember under a number beyond the steps taken: the unpickler would make room for all below it."""
    for step, (operation, number, _) in enumerate(pickletools.genops(data)):
        if operation.name in _MEMO and int(number or 0) > step:
            raise ValueError(f"memo {number} at step {step}")
