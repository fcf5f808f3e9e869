"""Instances that masks keep showing as one become one (view consensus). Not in the paper."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.fusion.overlap import Overlap
from moonseg3r_core.runtime.state import State, are_within, read_tensor, require

_MIN_PIXELS = 20  # of an instance in view, for a frame to count


class ViewConsensus:
    """Counts, for pairs of instances in view, the frames whose masks show them as one and as two; joins the former.

    An instance is shown by a mask that covers more than `cover` of its pixels in view, of which there must be `pixels`
    of those that enter the map. A pair joins once at least
    `views` frames showed it as one and these are at least `rate` of all frames that showed both.
    """

    def __init__(self, cover: float, views: int, rate: float) -> None:
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
        rows = torch.nonzero((cover > self.cover) & (overlap.of_instance >= _MIN_PIXELS)).flatten()
        ids, masks = instances.ids[rows].tolist(), mask[rows].tolist()
        joins: dict[int, int] = {}
        for i, (a, mask_a) in enumerate(zip(ids, masks, strict=True)):
            for b, mask_b in zip(ids[i + 1 :], masks[i + 1 :], strict=True):
                self._shown[a, b] += 1
                self._together[a, b] += mask_a == mask_b
                if self._agreed(a, b):
                    joins = _joined(joins, a, b)
        if joins:
            self._together, self._shown = (_renamed(counts, joins) for counts in (self._together, self._shown))
        return joins

    def state_dict(self) -> dict[str, Tensor]:
        """Every pair in view at some time: id, other id, frames that showed both, frames that showed them as one."""
        pairs = [(a, b, shown, self._together[a, b]) for (a, b), shown in self._shown.items()]
        return {"pairs": torch.tensor(pairs, dtype=torch.int64).view(-1, 4)}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` gave."""
        pairs = read_tensor(state, "pairs", ("pairs", 4))
        require(are_within(pairs, 0, 1 << 31), "pairs must be of ids and counts")
        self._shown = Counter({(a, b): shown for a, b, shown, _ in pairs.tolist()})
        self._together = Counter({(a, b): together for a, b, _, together in pairs.tolist()})

    def _agreed(self, a: int, b: int) -> bool:
        together = self._together[a, b]
        return together >= self.views and together >= self.rate * self._shown[a, b]


def _joined(joins: dict[int, int], a: int, b: int) -> dict[int, int]:
    """Joins {old: new} with a and b, and all that go by their names, under the least of the ids."""
    a, b = sorted(joins.get(id, id) for id in (a, b))
    return joins if a == b else {old: a if new == b else new for old, new in joins.items()} | {b: a}


def _renamed(counts: Counter[tuple[int, int]], joins: dict[int, int]) -> Counter[tuple[int, int]]:
    """Counts of pairs by the names that they go by now. Pairs that became one count the frames of the one that had
    more: adding them up would count a frame twice.
    """
    renamed: Counter[tuple[int, int]] = Counter()
    for (a, b), frames in counts.items():
        a, b = sorted((joins.get(a, a), joins.get(b, b)))
        if a != b:
            renamed[a, b] = max(renamed[a, b], frames)
    return renamed


class NoConsensus:
    """Instances stay apart for good, as in the paper."""

    def __call__(self, instances: Instances, overlap: Overlap) -> dict[int, int]:
        return {}

    def reset(self) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"pairs": torch.zeros(0, 4, dtype=torch.int64)}

    def load_state_dict(self, state: State) -> None:
        pass
