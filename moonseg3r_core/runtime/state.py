"""The state of stages as plain tensors under dotted names: copied, combined, and validated when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import Size, check

State = Mapping[str, Tensor]


class Stateless:
    """Base of implementations that keep nothing from frame to frame."""

    def reset(self) -> None: ...

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: State) -> None: ...


def cpu_copy(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU that shares no memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def prefix_states(**parts: State) -> dict[str, Tensor]:
    """Combine the states of parts: `bank={"queries": t}` becomes `{"bank.queries": t}`."""
    return {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}


def sub_state(state: State, name: str) -> dict[str, Tensor]:
    """Return the state of one part of what `prefix_states` combined."""
    return {full[len(name) + 1 :]: tensor for full, tensor in state.items() if full.startswith(f"{name}.")}


def load_parts(state: State, **parts: Stateful) -> None:
    """Load each part's own state into it."""
    for name, owner in parts.items():
        with error_prefix(name):
            owner.load_state_dict(sub_state(state, name))


@contextmanager
def error_prefix(name: str) -> Iterator[None]:
    """Prefix errors about this part's tensors with its name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}.{error}") from error


def read_tensor(
    state: State,
    name: str,
    shape: Sequence[Size],
    dtype: torch.dtype = torch.int64,
    sizes: dict[str, int] | None = None,
    device: torch.device | str = "cpu",
    finite: bool = True,
) -> Tensor:
    """Return a copy of a state's tensor on a device.

    Raises InputError where it is missing, has another shape or dtype (`types.check`), or holds NaN or infinite numbers
    and must be `finite`.
    """
    if name not in state:
        raise InputError(f"{name} must be in a saved state, got none; save it again with state_dict.")
    try:
        check(name, state[name], shape, dtype, {} if sizes is None else sizes)
    except ValueError as error:
        raise InputError(str(error)) from error
    require(not finite or bool(state[name].isfinite().all()), f"{name} must hold finite numbers alone")
    return state[name].to(device, copy=True)


def require(condition: Tensor | bool, expected: str) -> None:
    """Raise InputError, saying what was expected, unless a condition on a saved state holds."""
    if not condition:
        raise InputError(f"{expected}, got others; save it again with state_dict.")


def are_within(numbers: Tensor, low: int, end: int) -> bool:
    """Whether all whole numbers are at least `low` and below `end`."""
    return not numbers.numel() or (low <= int(numbers.min()) and int(numbers.max()) < end)
