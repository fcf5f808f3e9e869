"""The protocol of each stage. The segmenter knows these, and of fusion the classes Lift and InstanceStore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from moonseg3r_core.types import Assignment, Corrections, FeatureMap, Frame, Geometry, MaskProposals, Queries, Recalled


class Stateful(Protocol):
    """A stage with a state, which it returns as CPU copies by dotted name and loads from one with the same settings.

    `load_state_dict` raises InputError for an incomplete state, and may leave half of it loaded.
    """

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class Schedule(Protocol):
    """Decides which frames are segmented; the others only extend the map. `mark_done` follows each that was."""

    def is_due(self, frame: Frame) -> bool: ...

    def mark_done(self) -> None: ...

    def reset(self) -> None: ...


class Reconstruction(Stateful, Protocol):
    """Frame -> Geometry (eq 1). Raises FrameRejected for a frame that it cannot place."""

    def __call__(self, frame: Frame) -> Geometry: ...

    def reset(self) -> None: ...


class MaskModel(Protocol):
    """Frame -> MaskProposals (eq 1). A model may read the geometry too.

    A model with `show_map(view: MapView)` is shown what the map has in view before each call.
    """

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals: ...


class Merge(Protocol):
    """Queries -> Queries: masks of one object become one (section 3.5, Intra-Frame Merge)."""

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries: ...


class Match(Protocol):
    """Assigns each query to an instance (eq 12). `instances` and `overlap` are types of fusion."""

    def __call__(self, queries: Queries, instances: Any, overlap: Any) -> Assignment: ...


class FeatureModel(Protocol):
    """Frame -> FeatureMap F2d. A model may return the features of the reconstruction's image encoder."""

    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap: ...


class Refinement(Protocol):
    """Lifted masks, features, geometry and recalled queries -> the queries with their features (eq 2-4)."""

    def __call__(self, queries: Queries, features: FeatureMap, geometry: Geometry, recalled: Recalled) -> Queries: ...


class Memory(Stateful, Protocol):
    """The query bank and its index map. `recall` at t returns what was remembered before t (eq 7-9).

    `correct` places anew what hangs on key views that moved.
    """

    def correct(self, corrections: Corrections) -> None: ...

    def recall(self, geometry: Geometry) -> Recalled: ...

    def remember(self, queries: Queries, geometry: Geometry) -> None: ...

    def reset(self) -> None: ...
