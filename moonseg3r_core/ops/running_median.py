"""A running median, which ignores outliers and follows lasting changes."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.runtime.state import read_tensor


class RunningMedian:
    """The median of the last `length` numbers."""

    def __init__(self, length: int) -> None:
        self._numbers: deque[float] = deque(maxlen=length)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def value(self) -> float:
        """The median; the mean of the middle two of an even count, NaN without numbers."""
        return statistics.median(self._numbers) if self._numbers else float("nan")

    def add(self, number: float) -> None:
        self._numbers.append(number)

    def reset(self) -> None:
        self._numbers.clear()

    def state_dict(self) -> dict[str, Tensor]:
        return {"numbers": torch.tensor(list(self._numbers), dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the last `length` numbers of a saved state. Raises InputError without them."""
        numbers = read_tensor(state, "numbers", ("n",), torch.float64)
        self._numbers = deque(numbers.tolist(), maxlen=self._numbers.maxlen)
