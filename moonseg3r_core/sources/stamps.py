"""Tell one odd stamp from time that jumped."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from moonseg3r_core.sources.transforms import TIME_JUMP_S

T = TypeVar("T")
AGREEING = 3  # messages in a row, from which odd stamps are a jump of time
MAX_INTERVALS = 3  # typical ones that a stamp may lie ahead where the clock does not go with the stamps
MAX_PACE = 2.0  # of stamps against the clock, or the other way round, for a clock that goes with them


@dataclass(frozen=True)
class StampedItem(Generic[T]):
    """An item with its stamp and its time of arrival, seconds."""

    stamp: float
    arrived: float
    item: T


class StampFilter(Generic[T]):
    """Holds back items whose stamps do not follow the others, until AGREEING of them follow one another.

    A clock that went back makes a stamp that went back a jump at once.
    """

    def __init__(self) -> None:
        self._leads: deque[float] = deque(maxlen=31)  # of stamps over arrivals, seconds
        self._newest: StampedItem[T] | None = None
        self._held: list[StampedItem[T]] = []
        self._intervals: deque[tuple[float, float]] = deque(maxlen=31)  # of stamps, and of arrivals

    @property
    def newest(self) -> float | None:
        """The newest stamp that was taken, seconds."""
        return self._newest.stamp if self._newest else None

    def add(self, entry: StampedItem[T]) -> tuple[list[StampedItem[T]], list[StampedItem[T]], float]:
        """Add an item; return the items to take, those to leave out, and by how many seconds time jumped back."""
        newest = self._newest
        agrees = bool(self._held) and self._follows(entry, self._held[-1])
        if newest is None or (self._is_next(entry, newest) and not (agrees and entry.stamp < newest.stamp)):
            return [self._take(entry)], self._forget_held(), 0.0
        is_clock_back = entry.arrived < newest.arrived - TIME_JUMP_S and entry.stamp < newest.stamp
        if is_clock_back or agrees:
            self._held.append(entry)
            left_out: list[StampedItem[T]] = []
        else:
            left_out, self._held = self._held, [entry]
        if not is_clock_back and len(self._held) < AGREEING:
            return [], left_out, 0.0
        taken = self._forget_held()
        jump = max(newest.stamp - taken[0].stamp, 0.0)
        self._intervals.clear()
        self._leads.clear()
        self._newest = None
        return [self._take(each) for each in taken], left_out, jump

    def _take(self, entry: StampedItem[T]) -> StampedItem[T]:
        newest = self._newest
        if newest is None or entry.stamp >= newest.stamp:
            if newest is not None and entry.stamp > newest.stamp:
                self._intervals.append((entry.stamp - newest.stamp, entry.arrived - newest.arrived))
            self._newest = entry
        self._leads.append(entry.stamp - entry.arrived)
        return entry

    def _forget_held(self) -> list[StampedItem[T]]:
        held, self._held = self._held, []
        return held

    def _is_next(self, entry: StampedItem[T], newest: StampedItem[T]) -> bool:
        """True when a stamp may be the next one: not much earlier, nor far ahead."""
        if self._is_clock_like():
            return entry.stamp >= newest.stamp - TIME_JUMP_S and not self._is_ahead(entry)
        return self._follows(entry, newest)

    def _follows(self, entry: StampedItem[T], before: StampedItem[T]) -> bool:
        """True when a stamp follows another, by some typical steps and what the clock has advanced at most."""
        step, advance = entry.stamp - before.stamp, max(entry.arrived - before.arrived, 0.0)
        typical = median(interval for interval, _ in self._intervals) if self._intervals else step
        return -TIME_JUMP_S <= step <= TIME_JUMP_S + advance + MAX_INTERVALS * typical

    def _is_ahead(self, entry: StampedItem[T]) -> bool:
        """True for a stamp far ahead of a clock that goes with the stamps: no other image was as early by it."""
        return entry.stamp - entry.arrived > max(self._leads, default=math.inf) + TIME_JUMP_S

    def _is_clock_like(self) -> bool:
        """True when stamps and arrivals have the same pace, within a factor of MAX_PACE."""
        if not self._intervals:
            return False
        step, advance = (median(each) for each in zip(*self._intervals, strict=True))
        return step <= MAX_PACE * advance <= MAX_PACE**2 * step
