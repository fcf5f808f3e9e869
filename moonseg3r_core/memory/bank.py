"""The global query bank (paper eq 7): queries under indices that are never reused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moonseg3r_core.runtime.state import read_tensor, require
from moonseg3r_core.types import check


class QueryBank:
    """Queries in the order of their arrival; the oldest leave beyond `max_queries` (0: no limit).

    A query's index counts all queries ever appended, so no index is reused.
    """

    def __init__(self, max_queries: int) -> None:
        self.max_queries = max_queries
        self.reset()

    def reset(self) -> None:
        """Forget everything, the width of the queries included."""
        self._rows = torch.zeros(0, 0)
        self.first, self.end = 0, 0

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def width(self) -> int:
        """D, 0 before the first query."""
        return self._rows.shape[1]

    def check_width(self, features: Tensor) -> None:
        """Raise ValueError where queries (M, D) are of another width than those in the bank."""
        check("queries.features", features, ("M", self.width if self.width else "D"), torch.float32, {})

    def append(self, features: Tensor) -> Tensor:
        """Store features (M, D) float32, without gradient, and return their indices (M,) int64 on the CPU."""
        self.check_width(features)
        start, self.end = self.end, self.end + len(features)
        self._rows = self._rows.to(features.device)  # the bank is on the device of the newest queries
        kept = features.detach()
        if self.max_queries:
            kept = kept[-self.max_queries :]
            self.first = max(self.first, self.end - self.max_queries)
        if len(kept):
            self._reserve(kept)
            self._rows[self._find_rows(torch.arange(self.end - len(kept), self.end))] = kept
        return torch.arange(start, self.end)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the queries (n, D) of indices (n,) int64, on the bank's device. Raises ValueError for one that has left."""
        if len(indices) and not (self.first <= int(indices.min()) and int(indices.max()) < self.end):
            raise ValueError(
                f"query indices must be in {self.first}..{self.end - 1}, got {int(indices.min())}..{int(indices.max())}"
                "; leave out those below QueryBank.first, which have left the bank."
            )
        return self._rows[self._find_rows(indices)]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the bank as plain tensors."""
        indices = torch.arange(self.first, self.end)
        return {"queries": self.gather(indices).cpu(), "end": torch.tensor(self.end)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved bank, the newest `max_queries` of it. Raises InputError for an incomplete one."""
        queries, end = read_tensor(state, "queries", ("n", "D"), torch.float32), int(read_tensor(state, "end", ()))
        require(len(queries) <= end < 1 << 40, "end must be at least the number of queries, below 2^40")
        self.end = self.first = end - len(queries)
        self._rows = queries[:0]
        self.append(queries)

    def _find_rows(self, indices: Tensor) -> Tensor:
        """Find the storage rows of indices: a ring of `max_queries` rows, or all from the first on."""
        rows = indices % self.max_queries if self.max_queries else indices - self.first
        return rows.to(self._rows.device)

    def _reserve(self, features: Tensor) -> None:
        """Reserve rows by doubling, never past `max_queries`, so that appending is cheap on average."""
        needed = min(self.end, self.max_queries) if self.max_queries else len(self)
        if needed <= len(self._rows):
            return
        size = max(needed, 2 * len(self._rows))
        larger = features.new_zeros(min(size, self.max_queries) if self.max_queries else size, features.shape[1])
        larger[: len(self._rows)] = self._rows.reshape(-1, features.shape[1])
        self._rows = larger
