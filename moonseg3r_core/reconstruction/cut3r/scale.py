"""Metres per unit of the net, from a robot's odometry: how far the camera went by either."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.running import RunningMedian
from moonseg3r_core.state import gathered, load_parts, take


class GivenScale:
    """The running median of given over modelled displacement, each between frames `step` metres apart or more.

    Distances are compared, which no rotation between the two worlds touches. A pair is of one chunk only; the next
    begins where it ended. Known from `enough` pairs on, and of the last `window`.
    """

    def __init__(self, step: float = 0.1, enough: int = 3, window: int = 31) -> None:
        self.step, self.enough = step, enough
        self._ratios = RunningMedian(window)
        self.reset()

    def reset(self) -> None:
        self._ratios.reset()
        self._chunk = -1
        self._start: Tensor | None = None

    @property
    def value(self) -> float:
        """Metres per unit; not to be used as long as some are `missing`, NaN before the first pair."""
        return self._ratios.value

    @property
    def missing(self) -> float:
        """Metres that the camera must still move at least; 0 once the scale is known."""
        return self.step * max(self.enough - len(self._ratios), 0)

    def observe(self, given: Tensor, modelled: Tensor, chunk: int) -> None:
        """One frame's camera (4, 4) by the robot, in metres, and by the net."""
        here = torch.stack((given[:3, 3], modelled[:3, 3]))
        if self._start is None or chunk != self._chunk:
            self._start, self._chunk = here, chunk
            return
        metres, units = (here - self._start).norm(dim=1).tolist()
        if metres >= self.step:
            self._start = here
            if units > 0:
                self._ratios.add(metres / units)

    def state_dict(self) -> dict[str, Tensor]:
        start = torch.zeros(0, 2, 3, dtype=torch.float64) if self._start is None else self._start[None].clone()
        return gathered(ratios=self._ratios.state_dict()) | {"start": start, "chunk": torch.tensor([self._chunk])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        starts = take(state, "start", ("0 or 1", 2, 3), torch.float64)
        chunk = int(take(state, "chunk", (1,)))
        load_parts(state, ratios=self._ratios)
        self._start, self._chunk = starts[0] if len(starts) else None, chunk
