"""All instances so far, with query, state token, box and history (paper section 3.5, Mask Update)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.fusion.merge import merge_groups
from moonseg3r_core.fusion.votes import MOST_IDS
from moonseg3r_core.runtime.state import State, are_within, cpu_copy, read_tensor, require
from moonseg3r_core.types import Assignment, Queries, Size


class RunningMean:
    """A new observation weighs 1 / (n + 1), so that all weigh the same (docs/decisions.md, 10)."""

    def __call__(self, observations: Tensor) -> Tensor:
        return 1.0 / (observations + 1.0)


class PairwiseMean:
    """A new observation weighs as much as all former ones together."""

    def __call__(self, observations: Tensor) -> Tensor:
        return torch.where(observations > 0, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Instances:
    """Instances as rows, in ascending order of id; updates return a new object.

    ids (K,) int64 >= 1, never reused; features (K, D); boxes (K, 2, 3); state_tokens (K, S) or None;
    observations (K,), similarity (K,) summed over matches, first_frame and last_frame (K,) int64.
    """

    ids: Tensor
    features: Tensor
    boxes: Tensor
    state_tokens: Tensor | None
    observations: Tensor
    similarity: Tensor
    first_frame: Tensor
    last_frame: Tensor
    next_id: int = 1

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls, device: torch.device | str = "cpu") -> Instances:
        """Make a table without instances; ids start from 1."""
        none, ids = torch.zeros(0, device=device), torch.zeros(0, dtype=torch.int64, device=device)
        return cls(ids, none.view(0, 0), none.view(0, 2, 3), None, none, none, ids, ids)

    @property
    def scores(self) -> Tensor:
        """(K,) in [0, 1): observations times mean match similarity, squashed by x / (1 + x) (docs/decisions.md, 14)."""
        return self.similarity / (1.0 + self.similarity)

    def find_rows(self, ids: Tensor) -> Tensor:
        """Find the row (N,) of each known id (N,)."""
        return torch.searchsorted(self.ids, ids)

    def update(
        self, queries: Queries, assignment: Assignment, frame: int, average: RunningMean | PairwiseMean
    ) -> Instances:
        """Average one frame's queries into their instances, unite boxes, and append new instances."""
        if not len(queries):
            return self
        ids, groups = torch.unique(assignment.instance_ids, return_inverse=True)
        queries = merge_groups(queries, groups)
        best = torch.zeros(len(ids), device=ids.device).scatter_reduce_(0, groups, assignment.similarity, "amax")
        instances = self._append_rows(ids[ids >= self.next_id], queries, frame)
        rows = instances.find_rows(ids)
        weight = average(instances.observations[rows])[:, None]

        def blend(stored: Tensor, observed: Tensor) -> Tensor:
            return stored.index_copy(0, rows, torch.lerp(stored[rows], observed, weight))

        tokens = instances.state_tokens
        if tokens is not None and queries.state_tokens is not None:
            tokens = blend(tokens, queries.state_tokens)
        low = torch.fmin(instances.boxes[rows, 0], queries.boxes[:, 0])
        high = torch.fmax(instances.boxes[rows, 1], queries.boxes[:, 1])
        return dataclasses.replace(
            instances,
            features=blend(instances.features, queries.features),
            boxes=instances.boxes.index_copy(0, rows, torch.stack((low, high), dim=1)),
            state_tokens=tokens,
            observations=instances.observations.index_add(0, rows, torch.ones_like(best)),
            similarity=instances.similarity.index_add(0, rows, best),
            last_frame=instances.last_frame.index_fill(0, rows, frame),
        )

    def _append_rows(self, ids: Tensor, queries: Queries, frame: int) -> Instances:
        """Append empty rows for new ids, so that new and old instances are updated by the same lines."""
        new = len(ids)
        features = self.features if len(self) else queries.features[:0]
        tokens = (
            self.state_tokens if len(self) else (None if queries.state_tokens is None else queries.state_tokens[:0])
        )
        none = features.new_zeros(new)
        return Instances(
            ids=torch.cat((self.ids, ids)),
            features=torch.cat((features, features.new_zeros(new, features.shape[1]))),
            boxes=torch.cat((self.boxes, self.boxes.new_full((new, 2, 3), torch.nan))),
            state_tokens=None if tokens is None else torch.cat((tokens, tokens.new_zeros(new, tokens.shape[1]))),
            observations=torch.cat((self.observations, none)),
            similarity=torch.cat((self.similarity, none)),
            first_frame=torch.cat((self.first_frame, torch.full_like(ids, frame))),
            last_frame=torch.cat((self.last_frame, torch.full_like(ids, frame))),
            next_id=max(self.next_id, int(ids.max()) + 1 if new else 0),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return every column, and the next new id."""
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "next_id"}
        present = {name: cpu_copy(values) for name, values in columns.items() if values is not None}
        return {**present, "next_id": torch.tensor(self.next_id)}

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> Instances:
        """Make the instances of a saved state. Raises InputError for an incomplete one."""
        sizes: dict[str, int] = {}

        def read_integers(name: str) -> Tensor:
            return read_tensor(state, name, ("K",), torch.int64, sizes, device)

        def read_reals(name: str, *shape: Size, finite: bool = True) -> Tensor:
            return read_tensor(state, name, ("K", *shape), torch.float32, sizes, device, finite)

        ids, next_id = read_integers("ids"), int(read_tensor(state, "next_id", ()))
        require(1 <= next_id <= MOST_IDS, f"next_id must be from 1 to {MOST_IDS}")
        require(are_within(ids, 1, next_id) and bool((ids.diff() > 0).all()), "ids must rise from 1 to below next_id")
        return cls(
            ids=ids,
            features=read_reals("features", "D"),
            boxes=read_reals("boxes", 2, 3, finite=False),
            state_tokens=read_reals("state_tokens", "S") if "state_tokens" in state else None,
            observations=read_reals("observations"),
            similarity=read_reals("similarity"),
            first_frame=read_integers("first_frame"),
            last_frame=read_integers("last_frame"),
            next_id=next_id,
        )

    def select(self, keep: Tensor) -> Instances:
        """Select the rows that `keep` (K,) bool marks; the next new id stays."""
        rows: dict[str, Any] = {
            f.name: values[keep]
            for f in dataclasses.fields(self)
            if isinstance(values := getattr(self, f.name), Tensor)
        }
        return dataclasses.replace(self, **rows)

    def join(self, joins: Mapping[int, int]) -> Instances:
        """Average each instance `old` of joins {old: new} into `new`, by observations, and drop its row."""
        instances = self
        for old, new in joins.items():
            instances = instances._join_rows(
                *instances.find_rows(torch.tensor([old, new], device=self.ids.device)).tolist()
            )
        return instances

    def _join_rows(self, old: int, new: int) -> Instances:
        share = self.observations[old] / (self.observations[old] + self.observations[new])
        keep = torch.arange(len(self), device=self.ids.device) != old

        def replace_row(values: Tensor, row: Tensor) -> Tensor:
            values = values.clone()
            values[new] = row
            return values[keep]

        def blend(values: Tensor) -> Tensor:
            return replace_row(values, torch.lerp(values[new], values[old], share))

        box = torch.stack(
            (torch.fmin(self.boxes[old, 0], self.boxes[new, 0]), torch.fmax(self.boxes[old, 1], self.boxes[new, 1]))
        )
        return Instances(
            ids=self.ids[keep],
            features=blend(self.features),
            boxes=replace_row(self.boxes, box),
            state_tokens=None if self.state_tokens is None else blend(self.state_tokens),
            observations=replace_row(self.observations, torch.maximum(self.observations[old], self.observations[new])),
            similarity=replace_row(self.similarity, torch.maximum(self.similarity[old], self.similarity[new])),
            first_frame=replace_row(self.first_frame, torch.minimum(self.first_frame[old], self.first_frame[new])),
            last_frame=replace_row(self.last_frame, torch.maximum(self.last_frame[old], self.last_frame[new])),
            next_id=self.next_id,
        )
