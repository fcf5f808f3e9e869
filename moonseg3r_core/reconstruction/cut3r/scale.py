"""Metres per unit of the net, from external poses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.ops.running_median import RunningMedian
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor


class MetricScale:
    """The running median of external over net displacement, between frames at least `step` metres apart.

    Distances do not depend on the rotation between the two worlds. The scale is known from `min_pairs` pairs on, and is
    the median of the last `window` ones. A pair may span two submaps, because the net's poses are chained.
    """

    def __init__(self, step: float, min_pairs: int, window: int) -> None:
        self.step, self.min_pairs = step, min_pairs
        self._ratios = RunningMedian(window)
        self.reset()

    def reset(self) -> None:
        self._ratios.reset()
        self._start: Tensor | None = None

    @property
    def value(self) -> float:
        """Metres per unit; NaN before the first pair, provisional as long as metres are `missing`."""
        return self._ratios.value

    @property
    def missing(self) -> float:
        """Metres that the camera must still move at least; 0 once the scale is known."""
        return self.step * max(self.min_pairs - len(self._ratios), 0)

    def observe(self, external: Tensor, net: Tensor) -> None:
        """Take one frame's camera (4, 4) by an external pose, in metres, and by the net, in the chained world."""
        here = torch.stack((external[:3, 3], net[:3, 3]))
        if self._start is None:
            self._start = here
            return
        metres, units = (here - self._start).norm(dim=1).tolist()
        if metres >= self.step:
            self._start = here
            if units > 0:
                self._ratios.add(metres / units)

    def state_dict(self) -> dict[str, Tensor]:
        start = torch.zeros(0, 2, 3, dtype=torch.float64) if self._start is None else self._start[None].clone()
        return prefix_states(ratios=self._ratios.state_dict()) | {"start": start}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        starts = read_tensor(state, "start", ("0 or 1", 2, 3), torch.float64)
        load_parts(state, ratios=self._ratios)
        self._start = starts[0] if len(starts) else None
