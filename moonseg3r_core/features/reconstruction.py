"""2D features (F2d) taken from the reconstruction's own image encoder."""

from __future__ import annotations

from moonseg3r_core.types import FeatureMap, Frame, Geometry


class ReconstructionFeatures:
    """Geometry -> F2d (h, w, C), the tokens of the image encoder, laid over the geometry's grid; no network runs."""

    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap:
        assert geometry.image_features is not None, "resolve() allows this only for a reconstruction with an encoder"
        return geometry.image_features
