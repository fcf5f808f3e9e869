"""The frame budget: which frames are looked at for masks; the others only reconstruct and extend the map."""

from __future__ import annotations

from moonseg3r_core.types import Frame


class EveryNth:
    """Every n-th frame that comes has its turn, the first one too; where it is rejected, the next one has a turn too."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.reset()

    def __call__(self, frame: Frame) -> bool:
        self._due |= self._come % self.every == 0
        self._come += 1
        return self._due

    def spend(self) -> None:
        """The frame that had its turn was taken in."""
        self._due = False

    def reset(self) -> None:
        """The next frame is the first one."""
        self._come, self._due = 0, False
