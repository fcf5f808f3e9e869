"""Let the depth images decide how a recording is to be read, where copies of a data set differ and no file tells.

Depth of one view, carried into another by the poses, agrees with the depth there only where intrinsics and camera frame
are right. This is measured for a few pairs of views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.files import read_depth
from moonseg3r_core.sources.layouts.layout import Pinhole, Shot
from moonseg3r_core.sources.transforms import invert

PAIRS, GAP = 6, 12  # pairs of views, and frames between the two at most
ROWS = 60  # of pixels of the first view that are carried over
MIN_SHARE = 0.05  # of them that fall into the second view, for a pair to count
CLEARLY = 0.7  # of the other misfit

View = tuple[np.ndarray, np.ndarray]  # depth (H, W) metres, world_from_camera (4, 4)


@dataclass(frozen=True)
class Convention:
    """What a copy of a data set takes for granted: the camera of its depth, and the camera's pose (4, 4) in the frame that the poses place."""

    camera: Pinhole
    placed_from_camera: np.ndarray


def find_better(
    shots: Sequence[Shot], scale: float, no_depth: int | None, one: Convention, other: Convention
) -> Convention | None:
    """Return the convention by which the depth images agree clearly better, None where they do not tell."""
    pairs = list(_read_pairs(shots, scale, no_depth))
    misfit, others = (_measure_misfit(pairs, convention) for convention in (one, other))
    if misfit < CLEARLY * others:
        return one
    return other if others < CLEARLY * misfit else None


def _read_pairs(shots: Sequence[Shot], scale: float, no_depth: int | None) -> Iterator[tuple[View, View]]:
    whole = [shot for shot in shots if shot.depth and shot.read_pose and not shot.fault]
    gap = min(GAP, max(len(whole) // 2, 1))
    for start in np.linspace(0, max(len(whole) - gap - 1, 0), PAIRS).astype(int) if len(whole) > gap else ():
        with suppress(FrameRejected):  # such a view tells nothing
            yield _read_view(whole[start], scale, no_depth), _read_view(whole[start + gap], scale, no_depth)


def _read_view(shot: Shot, scale: float, no_depth: int | None) -> View:
    assert isinstance(shot.depth, Path)
    assert shot.read_pose is not None
    return read_depth(shot.depth, scale, no_depth).numpy().astype(np.float64), shot.read_pose()


def _measure_misfit(pairs: Sequence[tuple[View, View]], convention: Convention) -> float:
    """Measure the median relative difference of depth over all pairs, infinite where nothing can be compared."""
    found = [_compare(first, second, convention) for pair in pairs for first, second in (pair, pair[::-1])]
    differences = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(differences)) if len(differences) else np.inf


def _compare(first: View, second: View, convention: Convention) -> np.ndarray:
    """Return |depth there / depth carried over - 1| of the pixels of the first view that fall into the second."""
    size = first[0].shape[0], first[0].shape[1]
    k = convention.camera.fit(size)
    if k is None or second[0].shape != first[0].shape:
        return np.zeros(0)
    step = max(size[0] // ROWS, 1)
    v, u = (axis.ravel() for axis in np.mgrid[0 : size[0] : step, 0 : size[1] : step])
    depth = first[0][v, u]
    v, u, depth = v[depth > 0], u[depth > 0], depth[depth > 0]
    points = np.linalg.inv(k) @ np.stack((u, v, np.ones_like(u))) * depth
    second_from_first = invert(second[1] @ convention.placed_from_camera) @ first[1] @ convention.placed_from_camera
    x, y, z = second_from_first[:3, :3] @ points + second_from_first[:3, 3:]
    in_front = z > 0.1
    x, y, z = x[in_front], y[in_front], z[in_front]
    u, v = (np.floor(k[i, i] * a / z + k[i, 2] + 0.5).astype(int) for i, a in ((0, x), (1, y)))
    inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    there = second[0][v[inside], u[inside]]
    seen = there > 0
    return np.abs(there[seen] / z[inside][seen] - 1) if seen.sum() > MIN_SHARE * len(depth) else np.zeros(0)
