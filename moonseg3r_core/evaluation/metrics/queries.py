"""What queries are for, counted with exact ids at hand: split objects made whole, and objects known again after a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Repairs:
    """Of the frames so far: objects with a mask, those that masks split, those of them whole after the merge, and
    objects that the merge joined to another by mistake.
    """

    objects: int = 0
    split: int = 0
    whole: int = 0
    wrong: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(*(getattr(self, name) + getattr(other, name) for name in ("objects", "split", "whole", "wrong")))


def owners(labels: Tensor, ids: Tensor, masks: int) -> Tensor:
    """The object (masks,) int64 that most of each mask's pixels belong to; labels (H, W), m + 1 for mask m; ids (H, W)."""
    span = int(ids.max()) + 1 if ids.numel() else 1
    votes = torch.bincount((labels.long() * span + ids.long()).flatten(), minlength=(masks + 1) * span)
    return votes.view(masks + 1, span)[1:].argmax(1)


def repairs(owner: Tensor, group: Tensor) -> Repairs:
    """Of one frame: the object (M,) and the group after the merge (M,) of each mask; masks of no object (0) join at will."""
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


def returns(seen: Sequence[Mapping[int, int]], away: int = 100, shown: int = 5) -> list[tuple[int, int]]:
    """The ids that objects had before and after they were out of view: (before, after), one pair a return.

    seen: by frame, the object in view -> the id that most of it has, 0 where no mask shows it. A stay is what lies between
    gaps of more than `away` frames out of view; only its frames with an id can say which it has. A return counts where an
    object had an id in `shown` frames or more before the gap, and in as many of the stay after it; its id is the one it mostly
    has, before in all stays, after in the first `shown`.
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
                found.append((_mostly(before), _mostly(after[:shown])))
    return found


def _mostly(ids: Sequence[int]) -> int:
    return Counter(ids).most_common(1)[0][0]
