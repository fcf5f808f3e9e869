"""What each room must offer, as protocols: the hall knows these and no adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from moonseg3r_core.types import Assignment, FeatureMap, Frame, Geometry, MaskProposals, Queries, Recalled


class Stateful(Protocol):
    """What remembers from frame to frame: its state as CPU copies by dotted name, and the way back, by another of the
    same settings. `load_state_dict` raises InputError for a state that is not whole, and may leave half of it behind.
    """

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class Budget(Protocol):
    """Whether a frame is looked at for masks; one that is not only extends the map. `spend` follows when it was."""

    def __call__(self, frame: Frame) -> bool: ...

    def spend(self) -> None: ...

    def reset(self) -> None: ...


class Reconstruction(Stateful, Protocol):
    """Frame -> Geometry (eq 1). Raises FrameRejected for a frame that it cannot place."""

    def __call__(self, frame: Frame) -> Geometry: ...

    def reset(self) -> None: ...


class MaskModel(Protocol):
    """Frame -> MaskProposals (eq 1); a weight-free model may look at the geometry too."""

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals: ...


class Merge(Protocol):
    """Queries -> Queries, those of one object made one (section 3.5, Intra-Frame Merge)."""

    def __call__(self, queries: Queries, frame: Frame, geometry: Geometry) -> Queries: ...


class Match(Protocol):
    """Which instance each query belongs to (eq 12); the instances and the overlap are fusion's own types."""

    def __call__(self, queries: Queries, instances: Any, overlap: Any) -> Assignment: ...


class FeatureModel(Protocol):
    """Frame -> FeatureMap F2d; a model may pass on what the reconstruction's encoder has made of the image already."""

    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap: ...


class Refinement(Protocol):
    """Lifted masks, features, geometry and what is recalled -> the same queries with their features (eq 2-4)."""

    def __call__(self, queries: Queries, features: FeatureMap, geometry: Geometry, recalled: Recalled) -> Queries: ...


class Memory(Stateful, Protocol):
    """The query bank and its index map: recall at t what was remembered before t (eq 7-9)."""

    def recall(self, geometry: Geometry) -> Recalled: ...

    def remember(self, queries: Queries, geometry: Geometry) -> None: ...

    def reset(self) -> None: ...
