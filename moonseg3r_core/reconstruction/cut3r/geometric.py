"""What F3d is: the net's own modulated tokens, or where the points lie that it and the landmarks agree on."""

from __future__ import annotations

import dataclasses

from moonseg3r_core.ops.fourier import encode_positions
from moonseg3r_core.types import FeatureMap, Geometry

_ACROSS = 20  # cells from left to right
_LONGEST, _OCTAVES = 8.0, 5  # wavelengths, as of the rgbd reconstruction


def modulation(geometry: Geometry) -> Geometry:
    """As it is: the tokens between decoder and world head (paper supplement B.2)."""
    return geometry


def positions(geometry: Geometry) -> Geometry:
    """With Fourier features of the points in place of the tokens: sharp and true to the corrected poses, where the
    tokens of a small net are neither.
    """
    cell = max(1, geometry.grid.width // _ACROSS)
    features = encode_positions(geometry.points, geometry.valid, cell, _LONGEST, _OCTAVES)
    return dataclasses.replace(geometry, features=FeatureMap(features))


GEOMETRIC = {"modulation": modulation, "positions": positions}
