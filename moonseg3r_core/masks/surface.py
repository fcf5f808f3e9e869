"""The visible surface on a small pixel grid: points, normals, and edges between neighbouring pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from moonseg3r_core.types import Geometry, PixelGrid


@dataclass(frozen=True)
class Surface:
    """points (h, w, 3) and normals (h, w, 3) in the camera's frame, normals towards the camera, float32;
    valid (h, w) bool: where both are known; confidence (h, w) float32 of the points, 0 where there is none.
    """

    points: np.ndarray
    normals: np.ndarray
    valid: np.ndarray
    confidence: np.ndarray

    @property
    def relative_confidence(self) -> np.ndarray:
        """(h, w): confidence over the median of those known; 0 where there is none."""
        known = self.confidence > 0
        return self.confidence / np.median(self.confidence[known]) if known.any() else self.confidence


@dataclass(frozen=True)
class Steps:
    """Steps between neighbouring pixels: start, end (L,) flat pixel indices; contrast (L,) of color across the step;
    edge (L,) in [0, 1], the strength of a depth jump or crease times its weight; known (L,) in [0, 1], that weight: 0
    where the surface is unknown, less than 1 where it is less sure than most.
    """

    start: np.ndarray
    end: np.ndarray
    contrast: np.ndarray
    edge: np.ndarray
    known: np.ndarray


def compute_surface(geometry: Geometry, image_size: tuple[int, int], h: int, w: int, reach: int) -> Surface:
    """Compute the geometry's surface on a grid (h, w) laid evenly over the image.

    A normal is the cross product of two differences over `reach` pixels, each taken to the side where depth changes
    less, so that it stays clean next to an edge.
    """
    depth, rays, confidence = _sample(geometry, image_size, h, w)
    points = rays * depth[..., None]
    valid = depth > 0
    right, known_right = _compute_tangent(points, valid, reach, axis=1)
    down, known_down = _compute_tangent(points, valid, reach, axis=0)
    valid = valid & known_right & known_down
    normals = cv2.blur(_normalize(np.cross(down, right)) * valid[..., None], (3, 3))
    return Surface(points, _normalize(normals), valid, confidence)


def locate_pixels(
    grid: PixelGrid, image_size: tuple[int, int], h: int, w: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Locate the pixels of a grid (h, w) laid evenly over the image in a geometry's grid: rows (h,) and columns (w,) int64,
    some outside of it, and inside (h, w) bool.
    """
    height, width = image_size
    u = (((np.arange(w) + 0.5) * width / w - 0.5 - grid.offset_u) / grid.scale_u).round().astype(int)
    v = (((np.arange(h) + 0.5) * height / h - 0.5 - grid.offset_v) / grid.scale_v).round().astype(int)
    return v, u, ((v >= 0) & (v < grid.height))[:, None] & ((u >= 0) & (u < grid.width))[None, :]


def compute_steps(lab: np.ndarray, surface: Surface, jump: float, convex: float) -> Steps:
    """Compute all steps to the right and down; color (h, w, 3) and surface are compared two pixels on either side.

    A surface that leaves the other's plane by the share `jump` of its depth has edge 1. A concave crease has edge 1 from
    45 degrees on. A convex one counts `convex` times as much: objects are convex, contacts concave (Stein et al. 2014,
    locally convex connected patches).
    """
    parts = [_compute_steps_along(lab, surface, axis, jump, convex) for axis in (0, 1)]
    return Steps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def find_nearest_valid(valid: np.ndarray) -> np.ndarray:
    """Find for every pixel of (h, w) bool the flat index of the nearest True one, about; its own where none is."""
    own = np.arange(valid.size).reshape(valid.shape)
    if valid.all() or not valid.any():
        return own
    _, group = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    member = np.zeros(int(group.max()) + 1, np.int64)
    member[group[valid]] = own[valid]
    return member[group]


def _compute_steps_along(
    lab: np.ndarray, surface: Surface, axis: int, jump: float, convex: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    h, w = surface.valid.shape
    size = (h, w)[axis]
    here = np.arange(size - 1)
    start, end = np.maximum(here - 1, 0), np.minimum(here + 2, size - 1)

    def take_pair(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels = image.reshape(h, w, -1)
        a, b = channels.take(start, axis), channels.take(end, axis)
        return a.reshape(-1, channels.shape[-1]), b.reshape(-1, channels.shape[-1])

    lab_a, lab_b = take_pair(lab)
    contrast = np.sqrt(np.square(lab_a - lab_b).sum(1))
    (point_a, point_b), (normal_a, normal_b) = take_pair(surface.points), take_pair(surface.normals)
    sure_a, sure_b = take_pair(np.minimum(surface.relative_confidence, 1) * surface.valid)
    known = np.minimum(sure_a, sure_b)[:, 0]
    away = point_b - point_a
    off_plane = np.minimum(np.abs(_dot(normal_a, away)), np.abs(_dot(normal_b, away)))
    gap = off_plane / np.maximum(np.minimum(point_a[:, 2], point_b[:, 2]), 1e-3) / jump
    crease = (1 - _dot(normal_a, normal_b)) / (1 - np.cos(np.pi / 4))
    crease = crease * np.where(_dot(normal_b - normal_a, away) > 0, convex, 1.0)
    edge = np.clip(np.maximum(np.square(gap), crease), 0, 1) * known
    pixels = np.arange(h * w).reshape(h, w)
    return pixels.take(here, axis).ravel(), pixels.take(here + 1, axis).ravel(), contrast, edge, known


def _sample(
    geometry: Geometry, image_size: tuple[int, int], h: int, w: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample median-filtered depth (h, w), rays (h, w, 3) with z = 1 and confidence (h, w) at the grid's pixel centres;
    0 outside.
    """
    grid = geometry.grid
    v, u, inside = locate_pixels(grid, image_size, h, w)
    rays = np.ones((h, w, 3), np.float32)
    k = geometry.intrinsics.cpu().numpy()
    rays[..., 0] = (u[None, :] - k[0, 2]) / k[0, 0]
    rays[..., 1] = (v[:, None] - k[1, 2]) / k[1, 1]
    if not inside.any():
        return np.zeros((h, w), np.float32), rays, np.zeros((h, w), np.float32)
    rows, columns = v.clip(0, grid.height - 1)[:, None], u.clip(0, grid.width - 1)[None, :]
    depth = (geometry.depth * geometry.valid).cpu().numpy()[rows, columns] * inside
    confidence = geometry.confidence.cpu().numpy()[rows, columns] * inside
    return cv2.medianBlur(depth.astype(np.float32), 5), rays, confidence.astype(np.float32)


def _compute_tangent(points: np.ndarray, valid: np.ndarray, reach: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the difference along an axis, to the side of the smaller change of depth, and where it is known."""
    size = points.shape[axis]
    ahead, behind = np.minimum(np.arange(size) + reach, size - 1), np.maximum(np.arange(size) - reach, 0)
    forward, backward = points.take(ahead, axis) - points, points - points.take(behind, axis)
    place = np.expand_dims(np.arange(size), 1 - axis)
    can_forward = valid & valid.take(ahead, axis) & (place < size - 1)
    can_backward = valid & valid.take(behind, axis) & (place > 0)
    change_forward = np.where(can_forward, np.abs(forward[..., 2]), np.inf)
    change_backward = np.where(can_backward, np.abs(backward[..., 2]), np.inf)
    chosen = np.where((change_forward <= change_backward)[..., None], forward, backward)
    return chosen, can_forward | can_backward


def _normalize(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.square(vectors).sum(-1, keepdims=True)), 1e-12)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)
