"""What is remembered, as plain tensors by dotted name: taken out, put together, and held to its shapes on the way back."""

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
    """For a room's tenant that remembers nothing from frame to frame."""

    def reset(self) -> None: ...

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: State) -> None: ...


def plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU that nothing else holds."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def gathered(**parts: State) -> dict[str, Tensor]:
    """The states of parts as one: `bank={"queries": t}` as `{"bank.queries": t}`."""
    return {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}


def part(state: State, name: str) -> dict[str, Tensor]:
    """One part of what `gathered` put together."""
    return {full[len(name) + 1 :]: tensor for full, tensor in state.items() if full.startswith(f"{name}.")}


def load_parts(state: State, **parts: Stateful) -> None:
    """Give each part its own state."""
    for name, owner in parts.items():
        with within(name):
            owner.load_state_dict(part(state, name))


@contextmanager
def within(name: str) -> Iterator[None]:
    """Errors about tensors of this part name them in full."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}.{error}") from error


def take(
    state: State,
    name: str,
    shape: Sequence[Size],
    dtype: torch.dtype = torch.int64,
    sizes: dict[str, int] | None = None,
    device: torch.device | str = "cpu",
    finite: bool = True,
) -> Tensor:
    """A copy of a state's tensor, on a device. Raises InputError where it is missing, misshapen (`types.check`), or, unless
    it need not be `finite`, holds NaN or infinite numbers.
    """
    if name not in state:
        raise InputError(f"{name} must be in a saved state, got none; save it again with state_dict.")
    try:
        check(name, state[name], shape, dtype, {} if sizes is None else sizes)
    except ValueError as error:
        raise InputError(str(error)) from error
    hold(not finite or bool(state[name].isfinite().all()), f"{name} must hold finite numbers alone")
    return state[name].to(device, copy=True)


def hold(sound: Tensor | bool, expected: str) -> None:
    """Raises InputError, what was expected, unless a saved state is sound."""
    if not sound:
        raise InputError(f"{expected}, got others; save it again with state_dict.")


def are_within(numbers: Tensor, low: int, end: int) -> bool:
    """Whether all of whole numbers are at least `low` and below `end`."""
    return not numbers.numel() or (low <= int(numbers.min()) and int(numbers.max()) < end)
