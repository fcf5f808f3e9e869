"""Find the instances that look like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from moonseg3r_core.errors import InputError
from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.types import Instance


class SimilarInstance(NamedTuple):
    """An instance and its cosine similarity to the given one."""

    instance: Instance
    similarity: float


def find_similar(out: OutputFolder, id: int, top: int) -> list[SimilarInstance]:
    """Find the `top` instances of a result most similar to `id`, best first. Raises InputError for an unusable id."""
    instances, descriptors = out.read_instances(), out.read_descriptors()
    _check_id(id, [i.id for i in instances], out)
    if id not in descriptors:
        raise InputError(
            f"instance {id} of {out.path} must have a descriptor, got none: it was retired, because it won no voxel of the map; "
            "give another ID."
        )
    others = [i for i in instances if i.id != id and i.id in descriptors]
    ranked = [SimilarInstance(i, float(descriptors[id] @ descriptors[i.id])) for i in others]  # of unit length
    return sorted(ranked, key=lambda found: (-found.similarity, found.instance.id))[:top]


def _check_id(id: int, known: Sequence[int], out: OutputFolder) -> None:
    """Check that an id is known. Raises InputError with the nearest ids."""
    if id in known:
        return
    if not known:
        raise InputError(f"ID must be an instance of {out.path}, got {id} where there is none; give another result.")
    nearest = [*sorted(i for i in known if i < id)[-1:], *sorted(i for i in known if i > id)[:1]]
    raise InputError(
        f"ID must be an instance of {out.path} (ids {min(known)} to {max(known)}), got {id}, which is not there or was "
        f"joined to another; the nearest: {' and '.join(map(str, nearest))}."
    )
