"""The map from above: which way is up, and a raster of the highest point per cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moonseg3r_core.report.palette import UNLABELLED, compute_colors
from moonseg3r_core.types import InstanceMap

HEADROOM = 0.3
_MAX_CELLS = 900
_MIN_LABEL_POINTS = 20
_CAMERA_ROLL = 0.02  # about a degree by which cameras are rolled more or less than they usually are


@dataclass(frozen=True)
class TopDown:
    """Two rasters (rows, columns, 3) uint8 of one view, white where there is nothing; `extent` is left, right, bottom,
    top in metres; `path` (F, 2) the camera's positions; `anchors` an instance's place for its number.
    """

    by_instance: np.ndarray
    by_color: np.ndarray
    extent: tuple[float, float, float, float]
    path: np.ndarray
    anchors: dict[int, tuple[float, float]]


def compute_page_axes(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) from the world to right, ahead, up, from points (N, 3) and camera poses (F, 4, 4), F >= 1.

    The page is turned so that the points fill the smallest rectangle, its long side across: walls lie along the page.
    """
    up = refine_up(points, *estimate_up(poses))
    east, north = np.linalg.svd(up[None])[2][1:]
    angles = np.deg2rad(np.arange(0.0, 180.0, 1.0))
    sides = np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * north
    reach = np.ptp(np.percentile(_sample(points) @ sides.T, [1, 99], axis=0), axis=0) if len(points) else np.ones(180)
    area = reach * np.roll(reach, 90)  # the other side of the rectangle is 90 degrees on
    best = int(np.where(reach >= np.roll(reach, 90), area, np.inf).argmin())
    return np.stack((sides[best], np.cross(up, sides[best]), up))


def estimate_up(poses: np.ndarray) -> tuple[np.ndarray, float]:
    """The direction (3,) that the cameras' horizontal axes are most perpendicular to, on the side of the image's top; and
    the tangent by which it may be off, 0.35 at most: what a little roll does to it, the more the less the cameras turn.

    People and robots seldom roll a camera. One that hardly turns leaves a choice: there the image's own top decides.
    """
    sideways, top = poses[:, :3, 0], -poses[:, :3, 1].mean(axis=0)
    top = top / max(float(np.linalg.norm(top)), 1e-9)
    spread = sideways.T @ sideways / len(sideways)
    up = np.linalg.eigh(spread + 0.05 * (np.eye(3) - np.outer(top, top)))[1][:, 0]
    turned = float(np.sqrt(max(np.linalg.eigvalsh(spread)[1], 0.0)))
    return up if up @ top >= 0 else -up, min(0.35, _CAMERA_ROLL / max(turned, 1e-9))


def refine_up(points: np.ndarray, up: np.ndarray, doubt: float) -> np.ndarray:
    """The direction near `up`, off by a tangent of about `doubt`, along which the points lie in the thinnest layers: floors,
    tables. Sought no farther than needed: the walls of a map from color alone lean, and may be its thinnest layers.
    """
    sample = _sample(points)
    for reach in (doubt, doubt / 3, doubt / 9):
        east, north = np.linalg.svd(up[None])[2][1:]
        steps = np.linspace(-reach, reach, 7)
        tilted = (up + a * east + b * north for a in steps for b in steps)
        up = max((t / np.linalg.norm(t) for t in tilted), key=lambda t: _measure_layering(sample @ t))
    return up


def _sample(points: np.ndarray) -> np.ndarray:
    """About 20,000 of the points, or all of fewer."""
    return points[:: max(1, len(points) // 20000)]


def _measure_layering(heights: np.ndarray) -> int:
    """How much the heights crowd in layers of 3 cm: the sum of squared counts."""
    if not len(heights):
        return 0
    counts = np.bincount(np.floor((heights - heights.min()) / 0.03).astype(int))
    return int((counts**2).sum())


def rasterize_map(map: InstanceMap, poses: np.ndarray, voxel: float) -> TopDown | None:
    """The map seen from above, cut `HEADROOM` above the camera; None where there is no point or no pose."""
    if not len(map) or not len(poses):
        return None
    rotation = compute_page_axes(map.points.cpu().numpy().astype(np.float64), poses)
    points = map.points.cpu().numpy() @ rotation.T.astype(np.float32)
    camera = poses[:, :3, 3] @ rotation.T
    keep = points[:, 2] <= camera[:, 2].max() + HEADROOM
    keep = keep if keep.any() else np.ones(len(points), dtype=bool)
    points, ids, rgb = points[keep], map.instance_ids.cpu().numpy()[keep], map.colors.cpu().numpy()[keep]
    low, high = _compute_bounds(points[:, :2], camera[:, :2])
    cell = max(voxel, float((high - low).max()) / _MAX_CELLS)
    rows, columns, order = _rasterize_points(points, ids, low, high, cell)
    shape = (*(np.ceil((high - low) / cell).astype(int)[::-1] + 2), 3)
    by_instance, by_color = (np.full(shape, 255, np.uint8) for _ in range(2))
    by_instance[rows, columns] = _paint_ids(ids, rgb)[order]
    by_color[rows, columns] = rgb[order]
    extent = (float(low[0]), float(low[0]) + shape[1] * cell, float(low[1]), float(low[1]) + shape[0] * cell)
    return TopDown(by_instance, by_color, extent, camera[:, :2], _place_labels(points, ids))


def _compute_bounds(points: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high corner around all but stray points, and around the camera's path."""
    low, high = np.percentile(points, [0.2, 99.8], axis=0)
    return np.minimum(low, camera.min(axis=0)) - 0.1, np.maximum(high, camera.max(axis=0)) + 0.1


def _rasterize_points(
    points: np.ndarray, ids: np.ndarray, low: np.ndarray, high: np.ndarray, cell: float
) -> tuple[np.ndarray, ...]:
    """Row, column and point of every dab of paint, in the order of painting: what has no id first, the lowest first.

    Each point covers 2 x 2 cells, so that the voxels' own grid does not show.
    """
    order = np.lexsort((points[:, 2], ids > 0))
    order = order[np.all((points[order, :2] >= low) & (points[order, :2] <= high), axis=1)]
    base = np.floor((points[order, :2] - low) / cell).astype(int)
    dabs = base[:, None, :] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return dabs[..., 1].ravel(), dabs[..., 0].ravel(), order.repeat(4)


def _paint_ids(ids: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Each id's colour with a trace of the surface's own light and dark; what has no id is pale."""
    light = rgb.mean(axis=1, keepdims=True) / 255
    labelled = compute_colors(ids) * (0.72 + 0.28 * light)
    pale = 0.5 * np.array(UNLABELLED) + 0.5 * (190 + 60 * light)
    return np.where((ids > 0)[:, None], labelled, pale).astype(np.uint8)


def _place_labels(points: np.ndarray, ids: np.ndarray) -> dict[int, tuple[float, float]]:
    """For each instance the median of its points on the page."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    groups = np.split(points[order, :2], starts[1:])
    return {
        int(id): (float(np.median(group[:, 0])), float(np.median(group[:, 1])))
        for id, group in zip(found, groups, strict=True)
        if id > 0 and len(group) >= _MIN_LABEL_POINTS
    }
