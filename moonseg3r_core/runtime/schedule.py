"""The mask schedule: which frames are segmented; the others are only reconstructed and extend the map."""

from __future__ import annotations

from moonseg3r_core.types import Frame


class MaskSchedule:
    """Segments every n-th frame, beginning with the first. A frame that is due and rejected leaves the next one due."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.reset()

    def is_due(self, frame: Frame) -> bool:
        """Count the frame, and say whether it is segmented."""
        self._due |= self._count % self.every == 0
        self._count += 1
        return self._due

    def mark_done(self) -> None:
        """Note that the frame that was due has been segmented."""
        self._due = False

    def reset(self) -> None:
        """Start counting anew."""
        self._count, self._due = 0, False
