"""What the mask net is told of the geometry: maps that do not change with the unit of depth."""

from __future__ import annotations

import numpy as np

from moonseg3r_core.masks.affinities import pair_pixels
from moonseg3r_core.masks.surface import Surface, compute_surface
from moonseg3r_core.types import Geometry

COUNT = 7
_REACH = 3  # pixels over which a normal is taken
_STEP = 0.05  # of the log of depth between neighbours that counts as a middling edge
_NEAREST = 4.0  # inverse depth, in that of the median, is kept below this


def compute_geometry_channels(geometry: Geometry, image_size: tuple[int, int], h: int, w: int) -> np.ndarray:
    """Compute the channels (COUNT, h, w) float32 of a geometry, laid evenly over an image; all 0 where there is none.

    They are inverse depth over that of the median, the normal, the edge of log depth towards the neighbours, the log of
    confidence over that of the median, and where a point is known.
    """
    return stack_channels(compute_surface(geometry, image_size, h, w, _REACH))


def stack_channels(surface: Surface) -> np.ndarray:
    """Stack the channels (COUNT, h, w) of a surface."""
    depth = surface.points[..., 2]
    known = depth > 0
    channels = np.zeros((COUNT, *depth.shape), np.float32)
    if not known.any():
        return channels
    typical = float(np.median(depth[known]))
    inverse = np.where(known, typical / np.where(known, depth, 1), 0)
    channels[0] = inverse.clip(0, _NEAREST)
    channels[1:4] = (surface.normals * surface.valid[..., None]).transpose(2, 0, 1)
    channels[4] = _compute_edges(depth, known)
    channels[5] = np.log(np.where(known, np.maximum(surface.relative_confidence, 1e-3), 1)).clip(-2, 2)
    channels[6] = known
    return channels


def _compute_edges(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Compute the largest step of log depth to a neighbour (h, w), from 0 to 1."""
    log = np.log(np.where(known, depth, 1))
    edges = np.zeros_like(log)
    for down, right in ((0, 1), (1, 0)):
        (a, b), (known_a, known_b), (edge_a, edge_b) = (pair_pixels(map_, down, right) for map_ in (log, known, edges))
        step = np.abs(a - b) * (known_a & known_b)
        np.maximum(edge_a, step, out=edge_a)
        np.maximum(edge_b, step, out=edge_b)
    return np.tanh(edges / _STEP)
