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
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_DEEPEST = 1000


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
        _check_steps(data)
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


def _check_steps(data: bytes) -> None:
    """Refuse what would bring the unpickler down: a memo number beyond the steps taken (it makes room for all below),
    and deeply nested tuples (hashing one, as a key, uses the C stack). Depths are followed as they pass the stack.
    """
    stack: list[int | None] = []  # how deep tuples are nested in each value; None: a mark
    memo: dict[int, int] = {}
    for step, (operation, argument, _) in enumerate(pickletools.genops(data)):
        taken = _take(stack, operation.stack_before)
        depth = max(taken, default=0) + operation.name.startswith("TUPLE")
        if operation.name in _GET:
            depth = memo.get(int(argument or 0), 0)
        stack += [None if made is pickletools.markobject else depth for made in operation.stack_after]
        if operation.name in _PUT and stack:
            number = len(memo) if argument is None else int(argument)
            memo[number] = stack[-1] or 0
            if number > step:
                raise ValueError(f"memo {number} at step {step}")
        if depth > _DEEPEST:
            raise ValueError("deeply nested tuples")


def _take(stack: list[int | None], kinds: list[Any]) -> list[int]:
    """Take from the stack what an operation takes, all down to a mark where it says so; the depths taken."""
    taken = []
    for kind in reversed(kinds):
        while kind is pickletools.stackslice and stack and stack[-1] is not None:
            taken.append(stack.pop())
        if kind is not pickletools.stackslice and stack:
            taken.append(stack.pop())
    return [depth for depth in taken if depth is not None]
