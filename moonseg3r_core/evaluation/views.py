"""A labelled frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """A labelled frame with the data set's geometry.

    labels (H, W) int, 0 = none; depth (H, W) float32 metres, 0 = none; intrinsics (3, 3); world_from_camera (4, 4).
    """

    labels: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray
