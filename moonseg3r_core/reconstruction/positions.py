"""F3d from where the points lie, for reconstructions whose points follow corrected poses."""

from __future__ import annotations

import dataclasses

from moonseg3r_core.ops.fourier import encode_positions
from moonseg3r_core.types import FeatureMap, Geometry

_CELLS = 20  # of the position features, from left to right
_LONGEST, _OCTAVES = 8.0, 5  # their wavelengths, as of the rgbd reconstruction


def encode_point_positions(geometry: Geometry) -> Geometry:
    """Replace F3d by Fourier features of the points. They follow corrected poses, which a small net's tokens do not."""
    cell = max(1, geometry.grid.width // _CELLS)
    features = encode_positions(geometry.points, geometry.valid, cell, _LONGEST, _OCTAVES)
    return dataclasses.replace(geometry, features=FeatureMap(features))
