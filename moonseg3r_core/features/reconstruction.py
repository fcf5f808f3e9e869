"""2D features (F2d) that are there already: what the reconstruction's own encoder makes of the image."""

from __future__ import annotations

from moonseg3r_core.types import FeatureMap, Frame, Geometry


class ReconstructionFeatures:
    """Geometry -> F2d (h, w, C), the tokens of the image encoder, laid over the geometry's grid; no net runs for it."""

    def __call__(self, frame: Frame, geometry: Geometry) -> FeatureMap:
        assert geometry.image_features is not None, "chosen for a reconstruction with an encoder alone"
        return geometry.image_features
