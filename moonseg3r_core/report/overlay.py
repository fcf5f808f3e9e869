"""Draw segmentations: an image with its instances, and one instance cut out."""

from __future__ import annotations

import cv2
import numpy as np

from moonseg3r_core.report.gallery import Picture
from moonseg3r_core.report.palette import compute_colors

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_LABEL_AREA = 0.004
_MIN_WIDTH = 480


def draw_overlay(picture: Picture) -> np.ndarray:
    """Draw the image with instances tinted, outlined and numbered: (h, w, 3) uint8 RGB; small images are enlarged."""
    picture = _enlarge(picture)
    tint = compute_colors(picture.ids)
    labelled = (picture.ids > 0)[..., None]
    mixed = np.where(labelled, 0.5 * picture.image + 0.5 * tint, 0.75 * picture.image + 0.25 * 255).astype(np.uint8)
    line = find_outlines(cv2.medianBlur(picture.ids.astype(np.uint16), 5))  # no outlines around speckle
    mixed[line] = (0.25 * mixed[line] + 0.75 * 255).astype(np.uint8)
    for id in np.unique(picture.ids[picture.ids > 0]):
        _draw_id(mixed, picture.ids == id, int(id))
    return mixed


def find_outlines(ids: np.ndarray) -> np.ndarray:
    """Find the pixels of instances that border another id: (h, w) bool."""
    padded = np.pad(ids, 1, mode="edge")
    height, width = ids.shape
    neighbours = ((2, 1), (0, 1), (1, 2), (1, 0))
    around = [padded[y : y + height, x : x + width] for y, x in neighbours]
    return (ids > 0) & np.any([ids != other for other in around], axis=0)


def draw_cutout(picture: Picture, id: int, width: int = 132, height: int = 99) -> np.ndarray:
    """Draw the largest part of an instance, its surroundings dimmed, in `width` x `height` pixels."""
    mask = (picture.ids == id).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    x0, y0, w, h, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())].tolist()  # of the largest part
    side = max(w * height, h * width) / (width * height) * 1.35
    crop_w, crop_h = max(24, round(side * width)), max(18, round(side * height))
    centred = np.array([x0 + w / 2 - crop_w / 2, y0 + h / 2 - crop_h / 2]).round().astype(int)
    margin = np.array([picture.ids.shape[1] - crop_w, picture.ids.shape[0] - crop_h])
    box = np.clip(centred, np.minimum(margin, 0), np.maximum(margin, 0))
    image, mask = (_crop_window(array, box, crop_w, crop_h) for array in (picture.image, mask))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if crop_w > width else cv2.INTER_CUBIC)
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    shown = np.where(mask[..., None] > 0, image, 0.45 * image + 0.55 * 238).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, compute_colors(np.array(id)).tolist(), 2, cv2.LINE_AA)
    return shown


def find_best_pictures(pictures: list[Picture]) -> dict[int, Picture]:
    """Find for each id the picture in which it covers the most pixels."""
    best: dict[int, tuple[int, Picture]] = {}
    for picture in pictures:
        ids, areas = np.unique(picture.ids[picture.ids > 0], return_counts=True)
        for id, area in zip(ids.tolist(), areas.tolist(), strict=True):
            if area > best.get(id, (0, picture))[0]:
                best[id] = (area, picture)
    return {id: picture for id, (_, picture) in best.items()}


def _enlarge(picture: Picture) -> Picture:
    """Enlarge a picture by a whole factor so that its numbers are legible."""
    factor = -(-_MIN_WIDTH // picture.image.shape[1])
    image = cv2.resize(picture.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return Picture(picture.index, image, picture.ids.repeat(factor, axis=0).repeat(factor, axis=1))


def _crop_window(array: np.ndarray, corner: np.ndarray, width: int, height: int) -> np.ndarray:
    """Crop a window that may reach over the border, filled with 238 grey there (0 for a mask)."""
    x, y = corner.tolist()
    window = np.full((height, width, *array.shape[2:]), 238 if array.ndim == 3 else 0, np.uint8)
    part = array[max(y, 0) : y + height, max(x, 0) : x + width]
    top, left = max(-y, 0), max(-x, 0)
    window[top : top + part.shape[0], left : left + part.shape[1]] = part
    return window


def _draw_id(image: np.ndarray, mask: np.ndarray, id: int) -> None:
    """Draw an id where its region is widest, unless the region is tiny."""
    if mask.mean() < _MIN_LABEL_AREA:
        return
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    size = 0.55 * image.shape[1] / 640
    (w, h), _ = cv2.getTextSize(str(id), _FONT, size, 1)
    corner, pad = (int(x) - w // 2, int(y) + h // 2), 3
    low, high = (corner[0] - pad, corner[1] - h - pad), (corner[0] + w + pad, corner[1] + pad)
    cv2.rectangle(image, low, high, (255, 255, 255), -1)
    cv2.putText(image, str(id), corner, _FONT, size, (20, 20, 20), 1, cv2.LINE_AA)
