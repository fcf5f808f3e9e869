"""Draw the map from above: estimate the up direction, then rasterize the highest point per cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moonseg3r_core.report.palette import UNLABELLED, compute_colors
from moonseg3r_core.types import InstanceMap

HEADROOM = 0.3  # metres above the highest camera position that are drawn
_MAX_CELLS = 900
_MIN_LABEL_POINTS = 20
_CAMERA_ROLL = 0.02  # about a degree, the usual deviation of a camera's roll


@dataclass(frozen=True)
class TopDown:
    """Two rasters (rows, columns, 3) uint8 of one view, white where there is nothing.

    extent: left, right, bottom, top in metres. path: (F, 2) camera positions. labels: position of each instance's id.
    """

    by_instance: np.ndarray
    by_color: np.ndarray
    extent: tuple[float, float, float, float]
    path: np.ndarray
    labels: dict[int, tuple[float, float]]


def compute_page_axes(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Compute the rotation (3, 3) from world to page axes (right, ahead, up) of points (N, 3) and poses (F >= 1, 4, 4).

    The points fill the smallest rectangle on the page, its long side horizontal, so walls are parallel to the page.
    """
    up = refine_up(points, *estimate_up(poses))
    east, north = np.linalg.svd(up[None])[2][1:]
    angles = np.deg2rad(np.arange(0.0, 180.0, 1.0))
    sides = np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * north
    reach = np.ptp(np.percentile(_sample(points) @ sides.T, [1, 99], axis=0), axis=0) if len(points) else np.ones(180)
    area = reach * np.roll(reach, 90)  # the other side of the rectangle is at 90 degrees
    best = int(np.where(reach >= np.roll(reach, 90), area, np.inf).argmin())
    return np.stack((sides[best], np.cross(up, sides[best]), up))


def estimate_up(poses: np.ndarray) -> tuple[np.ndarray, float]:
    """Estimate the up direction (3,) from camera poses, and the tangent of its error, 0.35 at most.

    Cameras seldom roll, so up is the direction most perpendicular to their horizontal axes, on the side of the image top.
    The image top decides where the cameras hardly turn; the error grows as they turn less.
    """
    sideways, top = poses[:, :3, 0], -poses[:, :3, 1].mean(axis=0)
    top = top / max(float(np.linalg.norm(top)), 1e-9)
    spread = sideways.T @ sideways / len(sideways)
    up = np.linalg.eigh(spread + 0.05 * (np.eye(3) - np.outer(top, top)))[1][:, 0]
    turned = float(np.sqrt(max(np.linalg.eigvalsh(spread)[1], 0.0)))
    return up if up @ top >= 0 else -up, min(0.35, _CAMERA_ROLL / max(turned, 1e-9))


def refine_up(points: np.ndarray, up: np.ndarray, tangent: float) -> np.ndarray:
    """Refine `up` within about `tangent` to the direction of the thinnest layers of points, such as floors and tables.

    The search stays near: walls of a map from color alone lean, and may be its thinnest layers.
    """
    sample = _sample(points)
    for reach in (tangent, tangent / 3, tangent / 9):
        east, north = np.linalg.svd(up[None])[2][1:]
        steps = np.linspace(-reach, reach, 7)
        tilted = (up + a * east + b * north for a in steps for b in steps)
        up = max((t / np.linalg.norm(t) for t in tilted), key=lambda t: _measure_layering(sample @ t))
    return up


def _sample(points: np.ndarray) -> np.ndarray:
    """Sample about 20,000 of the points, or take all of fewer."""
    return points[:: max(1, len(points) // 20000)]


def _measure_layering(heights: np.ndarray) -> int:
    """Measure how much the heights concentrate in layers of 3 cm: the sum of squared counts."""
    if not len(heights):
        return 0
    counts = np.bincount(np.floor((heights - heights.min()) / 0.03).astype(int))
    return int((counts**2).sum())


def rasterize_map(map: InstanceMap, poses: np.ndarray, voxel: float) -> TopDown | None:
    """Rasterize the map from above, cut HEADROOM above the camera; None without points or poses."""
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
    return TopDown(by_instance, by_color, extent, camera[:, :2], _compute_label_positions(points, ids))


def _compute_bounds(points: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the low and high corner around all points but outliers, and around the camera path."""
    low, high = np.percentile(points, [0.2, 99.8], axis=0)
    return np.minimum(low, camera.min(axis=0)) - 0.1, np.maximum(high, camera.max(axis=0)) + 0.1


def _rasterize_points(
    points: np.ndarray, ids: np.ndarray, low: np.ndarray, high: np.ndarray, cell: float
) -> tuple[np.ndarray, ...]:
    """Return row, column and point of each cell to paint, in order: points without id first, the lowest first.

    Each point covers 2 x 2 cells, so that the voxel grid does not show.
    """
    order = np.lexsort((points[:, 2], ids > 0))
    order = order[np.all((points[order, :2] >= low) & (points[order, :2] <= high), axis=1)]
    base = np.floor((points[order, :2] - low) / cell).astype(int)
    cells = base[:, None, :] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return cells[..., 1].ravel(), cells[..., 0].ravel(), order.repeat(4)


def _paint_ids(ids: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Color each point by its id, shaded by its own brightness; points without id are pale."""
    light = rgb.mean(axis=1, keepdims=True) / 255
    labelled = compute_colors(ids) * (0.72 + 0.28 * light)
    pale = 0.5 * np.array(UNLABELLED) + 0.5 * (190 + 60 * light)
    return np.where((ids > 0)[:, None], labelled, pale).astype(np.uint8)


def _compute_label_positions(points: np.ndarray, ids: np.ndarray) -> dict[int, tuple[float, float]]:
    """Compute the label position of each instance: the median of its points on the page."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    groups = np.split(points[order, :2], starts[1:])
    return {
        int(id): (float(np.median(group[:, 0])), float(np.median(group[:, 1])))
        for id, group in zip(found, groups, strict=True)
        if id > 0 and len(group) >= _MIN_LABEL_POINTS
    }
