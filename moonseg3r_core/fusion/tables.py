"""Instances as plain numbers for output, and as tensors for saved states."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moonseg3r_core.fusion.instances import Instances
from moonseg3r_core.runtime.state import State, cpu_copy, read_tensor
from moonseg3r_core.types import Instance


def describe_instances(
    instances: Instances, count: Tensor | None = None, centroids: Tensor | None = None, boxes: Tensor | None = None
) -> list[Instance]:
    """Describe instances in plain numbers; one without points of the map has the box of its own observations."""
    count = torch.zeros_like(instances.ids) if count is None else count
    some = (count > 0)[:, None]
    middle = instances.boxes.mean(1) if centroids is None else torch.where(some, centroids, instances.boxes.mean(1))
    box = instances.boxes if boxes is None else torch.where(some[:, None], boxes, instances.boxes)
    columns = (
        instances.ids, count, middle, box[:, 0], box[:, 1], instances.scores,
        instances.first_frame, instances.last_frame, instances.observations.long(),
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Instance(i, n, tuple(c), tuple(a), tuple(b), s, *history) for i, n, c, a, b, s, *history in rows]


def get_descriptors(instances: Instances) -> dict[int, Tensor]:
    """Return the query (D,) of each id, on the CPU."""
    return dict(zip(instances.ids.tolist(), cpu_copy(instances.features), strict=True))


def pack_tables(instances: list[Instance]) -> dict[str, Tensor]:
    """Pack plain instances into tensors without loss: whole numbers (n, 5) and real ones (n, 10)."""
    whole = [(i.id, i.points, i.first_frame, i.last_frame, i.observations) for i in instances]
    real = [(*i.centroid, *i.box_min, *i.box_max, i.score) for i in instances]
    return {
        "whole": torch.tensor(whole, dtype=torch.int64).view(-1, 5),
        "real": torch.tensor(real, dtype=torch.float64).view(-1, 10),
    }


def renumber_frames(state: State, renumber: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return a segmenter's state with other frame numbers; `renumber` replaces those in an int64 tensor of any shape."""
    changed = {}
    for name, tensor in state.items():
        if name.endswith(("first_frame", "last_frame", "retired_before")):
            changed[name] = renumber(tensor)
        elif name.endswith("retired.whole"):
            changed[name] = torch.cat((tensor[:, :2], renumber(tensor[:, 2:4]), tensor[:, 4:]), dim=1)
    return {**state, **changed}


def unpack_tables(state: State) -> list[Instance]:
    """Unpack the instances of `pack_tables`. Raises InputError for an incomplete state."""
    sizes: dict[str, int] = {}
    whole = read_tensor(state, "whole", ("n", 5), sizes=sizes).tolist()
    real = read_tensor(state, "real", ("n", 10), torch.float64, sizes, finite=False).tolist()
    return [
        Instance(id, points, tuple(r[:3]), tuple(r[3:6]), tuple(r[6:9]), r[9], *history)
        for (id, points, *history), r in zip(whole, real, strict=True)
    ]
