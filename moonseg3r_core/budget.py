"""The frame budget: which frames are looked at for masks; the others only reconstruct and extend the map."""

from __future__ import annotations

from moonseg3r_core.types import Frame


class EveryNth:
    """Every n-th frame that comes has its turn, the first one too."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._come = 0

    def __call__(self, frame: Frame) -> bool:
        self._come += 1
        return (self._come - 1) % self.every == 0
