"""Colors of points and pixels: the camera's, or one per instance as in the report."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from moonseg3r_core import compute_colors

_TABLE_LIMIT = 1 << 20  # ids below this have a row in the table: 3 MiB


def paint_by_camera(camera: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the camera's colors, (N, 3) uint8."""
    return camera


def paint_by_instance(camera: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return one color per instance id (N,) int32, grey for 0: (N, 3) uint8."""
    max_id = int(ids.max(initial=0))
    if max_id < _TABLE_LIMIT:
        return np.take(_make_table(1 << max_id.bit_length()), ids, axis=0)
    present, rows = np.unique(ids, return_inverse=True)
    return compute_colors(present)[rows]


PAINTS = {"camera": paint_by_camera, "instance": paint_by_instance}


@lru_cache(maxsize=1)
def _make_table(rows: int) -> np.ndarray:
    """Make the colors of the ids below `rows`, a power of two so that the cached table is seldom replaced."""
    return compute_colors(np.arange(rows))
