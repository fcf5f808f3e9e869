"""Instances that masks keep showing as one become one (view consensus). Not in the paper."""

from __future__ import annotations

from collections import Counter

import torch

from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.fusion.overlap import Overlap


class ViewConsensus:
    """Counts, for pairs of instances in view, the frames whose masks show them as one and as two; joins the former.

    An instance is shown by a mask that covers more than `cover` of its pixels in view. A pair joins once at least
    `views` frames showed it as one and these are at least `rate` of all frames that showed both.
    """

    def __init__(self, cover: float = 0.8, views: int = 5, rate: float = 0.75) -> None:
        self.cover, self.views, self.rate = cover, views, rate
        self.reset()

    def reset(self) -> None:
        """Forget all views."""
        self._together: Counter[tuple[int, int]] = Counter()
        self._shown: Counter[tuple[int, int]] = Counter()

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]:
        """The joins {old id: id it goes by} that this frame's evidence completes."""
        if not overlap.shared.numel():
            return {}
        cover, mask = overlap.cover.max(1)
        rows = torch.nonzero((cover > self.cover) & (overlap.of_instance >= 20)).flatten().tolist()
        joins: dict[int, int] = {}
        for i, a in enumerate(rows):
            for b in rows[i + 1 :]:
                pair = (int(instances.ids[a]), int(instances.ids[b]))
                self._shown[pair] += 1
                self._together[pair] += int(mask[a] == mask[b])
                together = self._together[pair]
                if together >= self.views and together >= self.rate * self._shown[pair]:
                    first, second = (joins.get(id, id) for id in pair)
                    if first != second:
                        keep, old = min(first, second), max(first, second)
                        joins = {o: keep if n == old else n for o, n in joins.items()} | {old: keep}
        self._rename(joins)
        return joins

    def _rename(self, joins: dict[int, int]) -> None:
        for counts in (self._together, self._shown):
            for pair in [p for p in counts if p[0] in joins or p[1] in joins]:
                a, b = sorted(joins.get(id, id) for id in pair)
                n = counts.pop(pair)
                if a != b:
                    counts[a, b] += n


class NoConsensus:
    """Instances stay apart for good, as in the paper."""

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]:
        return {}

    def reset(self) -> None:
        """Nothing to forget."""
