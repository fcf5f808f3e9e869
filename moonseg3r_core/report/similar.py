"""Which instances look like one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moonseg3r_core.errors import InputError
from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.types import Instance


@dataclass(frozen=True)
class SimilarInstance:
    """An instance and its cosine with the one asked for."""

    instance: Instance
    similarity: float


def find_similar(out: OutputFolder, id: int, top: int) -> list[SimilarInstance]:
    """The `top` instances of a result that look most like `id`, best first. Raises InputError for an id without likes."""
    instances, descriptors = out.read_instances(), out.read_descriptors()
    _check_id(id, [i.id for i in instances], out)
    if id not in descriptors:
        raise InputError(
            f"instance {id} of {out.path} must have a descriptor, got none: it was retired, for it led no point of the map; "
            "give another ID."
        )
    return rank_similar(instances, descriptors, id)[:top]


def rank_similar(
    instances: Sequence[Instance], descriptors: Mapping[int, np.ndarray], id: int
) -> list[SimilarInstance]:
    """All others that have a descriptor ((D,) at unit length, by id), by falling cosine with that of `id`."""
    others = [i for i in instances if i.id != id and i.id in descriptors]
    ranked = [SimilarInstance(i, float(descriptors[id] @ descriptors[i.id])) for i in others]
    return sorted(ranked, key=lambda alike: (-alike.similarity, alike.instance.id))


def _check_id(id: int, known: Sequence[int], out: OutputFolder) -> None:
    """Raises InputError, with the nearest, for an id that is not known."""
    if id in known:
        return
    if not known:
        raise InputError(f"ID must be an instance of {out.path}, got {id} where there is none; give another result.")
    nearest = [*sorted(i for i in known if i < id)[-1:], *sorted(i for i in known if i > id)[:1]]
    raise InputError(
        f"ID must be an instance of {out.path} (ids {min(known)} to {max(known)}), got {id}, which is not there or was "
        f"joined to another; the nearest: {' and '.join(map(str, nearest))}."
    )
