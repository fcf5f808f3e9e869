"""Metres per unit of the net, from a robot's odometry: how far the camera went by either."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.running import RunningMedian
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor


class OdometryScale:
    """The running median of given over modelled displacement, each between frames `step` metres apart or more.

    Distances are compared, which no rotation between the two worlds touches. A pair may reach over a seam, which the
    chained world has none of, and the next begins where it ended. Known from `enough` pairs on, and of the last `window`.
    """

    def __init__(self, step: float = 0.1, enough: int = 3, window: int = 31) -> None:
        self.step, self.enough = step, enough
        self._ratios = RunningMedian(window)
        self.reset()

    def reset(self) -> None:
        self._ratios.reset()
        self._start: Tensor | None = None

    @property
    def value(self) -> float:
        """Metres per unit; not to be used as long as some are `missing`, NaN before the first pair."""
        return self._ratios.value

    @property
    def missing(self) -> float:
        """Metres that the camera must still move at least; 0 once the scale is known."""
        return self.step * max(self.enough - len(self._ratios), 0)

    def observe(self, given: Tensor, modelled: Tensor) -> None:
        """One frame's camera (4, 4) by the robot, in metres, and by the net, in the chained world."""
        here = torch.stack((given[:3, 3], modelled[:3, 3]))
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
