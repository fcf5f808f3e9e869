"""Frames are numbered in the core and stamped in ROS: running numbers and the stamps that belong to them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from moonseg3r_core import Instance, renumber_frames


class FrameStamps:
    """Numbers frames and knows the stamp, in nanoseconds, of each number, 8 bytes a frame.

    A map file has stamps in place of numbers. Numbers go on above those of a loaded map, which stay stamps.
    """

    def __init__(self, loaded: Mapping[str, Tensor] | None = None) -> None:
        self._first, self._stamps = 0, array("q")
        renumber_frames(loaded or {}, self._skip)

    def add(self, stamp_ns: int) -> int:
        """Number the next frame."""
        self._stamps.append(stamp_ns)
        return self._first + len(self._stamps) - 1

    def get_stamp(self, number: int) -> int:
        """Return the stamp, ns, of a frame number."""
        place = number - self._first
        return self._stamps[place] if 0 <= place < len(self._stamps) else number

    def stamp_instance(self, instance: Instance) -> Instance:
        """Replace an instance's frame numbers by stamps."""
        first, last = self.get_stamp(instance.first_frame), self.get_stamp(instance.last_frame)
        return replace(instance, first_frame=first, last_frame=last)

    def stamp_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace the frame numbers in a segmenter's state by stamps."""
        return renumber_frames(state, self._stamp)

    def _skip(self, numbers: Tensor) -> Tensor:
        self._first = max(self._first, *(number + 1 for number in numbers.flatten().tolist()), 0)
        return numbers

    def _stamp(self, numbers: Tensor) -> Tensor:
        stamps = [self.get_stamp(number) for number in numbers.flatten().tolist()]
        return torch.tensor(stamps, dtype=torch.int64).view(numbers.shape)
