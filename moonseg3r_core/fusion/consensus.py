"""View consensus: two instances that masks repeatedly cover together become one. Not in the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.fusion.overlap import Overlap
from moonseg3r_core.runtime.state import State, are_within, read_tensor, require

_MIN_PIXELS = 20  # of an instance that are in view and enter the map, for a frame to count


class ViewConsensus:
    """Counts the frames in which one mask covers both instances of a pair, and joins the pair.

    A mask covers an instance when it has more than `cover` of its pixels in view. A pair joins once one mask covered both
    in at least `views` frames, and in at least the share `rate` of all frames in which both were covered.
    """

    def __init__(self, cover: float, views: int, rate: float) -> None:
        self.cover, self.views, self.rate = cover, views, rate
        self.reset()

    def reset(self) -> None:
        """Forget all views."""
        self._together: Counter[tuple[int, int]] = Counter()
        self._both: Counter[tuple[int, int]] = Counter()

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]:
        """Return the joins {old id: new id} that this frame's evidence completes."""
        if not overlap.shared.numel():
            return {}
        cover, mask = overlap.cover.max(1)
        rows = torch.nonzero((cover > self.cover) & (overlap.of_instance >= _MIN_PIXELS)).flatten()
        ids, masks = instances.ids[rows].tolist(), mask[rows].tolist()
        joins: dict[int, int] = {}
        for i, (a, mask_a) in enumerate(zip(ids, masks, strict=True)):
            for b, mask_b in zip(ids[i + 1 :], masks[i + 1 :], strict=True):
                self._both[a, b] += 1
                self._together[a, b] += mask_a == mask_b
                if self._should_join(a, b):
                    joins = add_join(joins, a, b)
        self.rename(joins)
        return joins

    def rename(self, joins: Mapping[int, int]) -> None:
        """Take over joins {old id: new id}, whoever found them."""
        if joins:
            self._together, self._both = (_rename_pairs(counts, joins) for counts in (self._together, self._both))

    def state_dict(self) -> dict[str, Tensor]:
        """Return every pair that was covered: id, other id, frames that covered both, frames where one mask did."""
        pairs = [(a, b, both, self._together[a, b]) for (a, b), both in self._both.items()]
        return {"pairs": torch.tensor(pairs, dtype=torch.int64).view(-1, 4)}

    def load_state_dict(self, state: State) -> None:
        """Restore saved counts. Raises InputError for an incomplete state."""
        pairs = read_tensor(state, "pairs", ("pairs", 4))
        require(are_within(pairs, 0, 1 << 31), "pairs must be of ids and counts")
        self._both = Counter({(a, b): both for a, b, both, _ in pairs.tolist()})
        self._together = Counter({(a, b): together for a, b, _, together in pairs.tolist()})

    def _should_join(self, a: int, b: int) -> bool:
        together = self._together[a, b]
        return together >= self.views and together >= self.rate * self._both[a, b]


def add_join(joins: dict[int, int], a: int, b: int) -> dict[int, int]:
    """Add the join of a and b, and of all that were joined to either, to joins {old: new}; the least id stays."""
    a, b = sorted(joins.get(id, id) for id in (a, b))
    return joins if a == b else {old: a if new == b else new for old, new in joins.items()} | {b: a}


def _rename_pairs(counts: Counter[tuple[int, int]], joins: Mapping[int, int]) -> Counter[tuple[int, int]]:
    """Rename counts of pairs by joins {old: new}.

    Pairs that become one have the frames of the one that had more: a sum would count a frame twice.
    """
    renamed: Counter[tuple[int, int]] = Counter()
    for (a, b), frames in counts.items():
        a, b = sorted((joins.get(a, a), joins.get(b, b)))
        if a != b:
            renamed[a, b] = max(renamed[a, b], frames)
    return renamed


class NoConsensus:
    """Joins nothing, as in the paper."""

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]:
        return {}

    def rename(self, joins: Mapping[int, int]) -> None:
        """Nothing to rename."""

    def reset(self) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"pairs": torch.zeros(0, 4, dtype=torch.int64)}

    def load_state_dict(self, state: State) -> None:
        pass
