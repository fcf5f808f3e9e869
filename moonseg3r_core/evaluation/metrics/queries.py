"""Counts of split objects that are merged, and of objects that keep their id after they were out of view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Repairs:
    """Sums over frames of objects with a mask, of those split by masks, of those whole after the merge, and of wrong merges."""

    objects: int = 0
    split: int = 0
    whole: int = 0
    wrong: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(*(getattr(self, name) + getattr(other, name) for name in ("objects", "split", "whole", "wrong")))


def find_owners(labels: Tensor, ids: Tensor, masks: int) -> Tensor:
    """Find the object (masks,) int64 of most pixels of each mask; labels (H, W), m + 1 for mask m; ids (H, W)."""
    span = int(ids.max()) + 1 if ids.numel() else 1
    votes = torch.bincount((labels.long() * span + ids.long()).flatten(), minlength=(masks + 1) * span)
    return votes.view(masks + 1, span)[1:].argmax(1)


def count_repairs(owner: Tensor, group: Tensor) -> Repairs:
    """Count the repairs of a frame from each mask's object (M,), 0 = none and not counted, and its group after the merge (M,)."""
    pairs = [(int(a), int(b)) for a, b in zip(owner, group, strict=True) if int(a)]
    masks, objects_of = Counter(a for a, _ in pairs), dict[int, set[int]]()
    groups_of: dict[int, set[int]] = {}
    for a, b in pairs:
        groups_of.setdefault(a, set()).add(b)
        objects_of.setdefault(b, set()).add(a)
    split = [a for a, count in masks.items() if count > 1]
    return Repairs(
        objects=len(masks),
        split=len(split),
        whole=sum(len(groups_of[a]) == 1 for a in split),
        wrong=sum(len(objects) - 1 for objects in objects_of.values()),
    )


def find_returns(seen: Sequence[Mapping[int, int]], away: int = 100, shown: int = 5) -> list[tuple[int, int]]:
    """Find the ids (before, after) of each object that returns after more than `away` frames out of view.

    seen: for each frame, the objects in view -> the id that most of their pixels have, 0 where none.
    A stay is the time between two such gaps. A return counts where the object has an id in `shown` frames or more
    before the gap and in the stay after it. `before` is the most frequent id of all stays before the gap, `after` that
    of the first `shown` frames with an id.
    """
    frames: dict[int, list[int]] = {}
    for t, view in enumerate(seen):
        for thing in view:
            frames.setdefault(thing, []).append(t)
    found = []
    for thing, times in frames.items():
        gaps = [at for at in range(1, len(times)) if times[at] - times[at - 1] > away]
        for at, end in pairwise([*gaps, len(times)]):
            before, after = ([id for t in part if (id := seen[t][thing])] for part in (times[:at], times[at:end]))
            if min(len(before), len(after)) >= shown:
                found.append((_find_most_frequent(before), _find_most_frequent(after[:shown])))
    return found


def _find_most_frequent(ids: Sequence[int]) -> int:
    return Counter(ids).most_common(1)[0][0]
