"""What each room must offer, as protocols: the hall knows these and no adapter."""

from __future__ import annotations

from typing import Protocol

from moonseg3r_core.types import FeatureMap, Frame, Geometry, MaskProposals, Queries, Recalled


class Reconstruction(Protocol):
    """Frame -> Geometry (eq 1). Raises FrameRejected for a frame that it cannot place."""

    def __call__(self, frame: Frame) -> Geometry: ...

    def reset(self) -> None: ...


class MaskModel(Protocol):
    """Frame -> MaskProposals (eq 1); a weight-free model may look at the geometry too."""

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals: ...


class FeatureModel(Protocol):
    """Frame -> FeatureMap F2d over the whole image, `cell` pixels per cell."""

    def __call__(self, frame: Frame) -> FeatureMap: ...


class Refinement(Protocol):
    """Proposals, features, geometry and what is recalled -> Queries (eq 2-4)."""

    def __call__(
        self, proposals: MaskProposals, features: FeatureMap, geometry: Geometry, recalled: Recalled
    ) -> Queries: ...


class Memory(Protocol):
    """The query bank and its index map: recall at t what was remembered before t (eq 7-9)."""

    def recall(self, geometry: Geometry) -> Recalled: ...

    def remember(self, queries: Queries, geometry: Geometry) -> None: ...

    def reset(self) -> None: ...
