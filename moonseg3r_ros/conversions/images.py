"""Id maps and overlays as Image messages, fast enough for every frame."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from moonseg3r_core import compute_colors, find_outlines
from moonseg3r_ros.conversions.buffers import make_buffer, make_message

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.45  # in an image 640 pixels wide
_COARSE_WIDTH = 160  # pixels, of the image in which label positions are searched


def make_segmentation_message(header: Header, ids: np.ndarray) -> Image:
    """Make a 32SC1 message of instance ids (H, W) int32, 0 = unlabelled."""
    return _make_image_message(header, "32SC1", ids.astype("<i4", copy=False))


def make_overlay_message(header: Header, image: np.ndarray, ids: np.ndarray) -> Image:
    """Make an rgb8 message of an image (H, W, 3) uint8 RGB with its instances, ids (H, W) int32, drawn on it."""
    return _make_image_message(header, "rgb8", draw_instances(image, ids))


def draw_instances(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Draw each instance in its color with a white outline, and with its number where that fits.

    This is the fast twin of the report's overlay; it keeps unlabelled pixels and enlarges nothing.
    """
    present, labels = compact_ids(ids)
    picture = cv2.addWeighted(image, 0.5, _take_colors(compute_colors(present), labels), 0.5, 0)
    cv2.copyTo(image, (labels == 0).view(np.uint8), picture)
    smooth = cv2.medianBlur(labels, 5)  # no outline around speckle
    lighter = cv2.addWeighted(picture, 0.25, np.full_like(picture, 255), 0.75, 0)
    cv2.copyTo(lighter, find_outlines(smooth).view(np.uint8), picture)
    for id, x, y, radius in zip(present.tolist(), *_find_label_positions(smooth, len(present)), strict=True):
        if id > 0:
            _draw_number(picture, str(id), x, y, radius)
    return picture


def compact_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids present, rising from 0, and each pixel's row among them (H, W) uint16."""
    flat = ids.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)  # of the runs of one id
    present = np.unique(np.append(flat[starts], 0))
    rows = np.searchsorted(present, flat[starts]).astype(np.uint16)
    labels = np.repeat(rows, np.diff(starts, append=len(flat)))
    return present, labels.reshape(ids.shape)


def _take_colors(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return table[labels] of colors (n, 3) uint8. Four bytes at a time take a quarter of the time."""
    words = np.pad(table, ((0, 0), (0, 1))).view(np.uint32)[:, 0]
    return cv2.cvtColor(np.take(words, labels).view(np.uint8).reshape(*labels.shape, 4), cv2.COLOR_RGBA2RGB)


def _find_label_positions(labels: np.ndarray, count: int) -> tuple[list[int], list[int], list[float]]:
    """Find, for each label below `count`, the pixel x, y farthest from its border, and that distance, pixels."""
    step = max(1, labels.shape[1] // _COARSE_WIDTH)
    coarse = labels[::step, ::step]
    border = np.zeros((coarse.shape[0] + 2, coarse.shape[1] + 2), bool)
    border[1:-1, 2:-1] |= coarse[:, 1:] != coarse[:, :-1]
    border[2:-1, 1:-1] |= coarse[1:] != coarse[:-1]
    border[[0, -1]] = border[:, [0, -1]] = True
    distance = cv2.distanceTransform((~border).view(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1].ravel()
    best = np.zeros(count, np.int64)
    rising = np.argsort(distance, kind="stable")
    best[coarse.ravel()[rising]] = rising  # the last one written has the largest distance
    y, x = np.divmod(best, coarse.shape[1])
    return (x * step).tolist(), (y * step).tolist(), (distance[best] * step).tolist()


def _draw_number(picture: np.ndarray, text: str, x: int, y: int, radius: float) -> None:
    """Draw a number in dark on white around a pixel, if it fits into a circle of this radius, pixels."""
    size = _FONT_SCALE * max(1.0, picture.shape[1] / 640)
    (width, height), _ = cv2.getTextSize(text, _FONT, size, 1)
    if radius < max(width, height) / 2:
        return
    left, bottom = x - width // 2, y + height // 2
    cv2.rectangle(picture, (left - 3, bottom - height - 3), (left + width + 2, bottom + 3), (255, 255, 255), -1)
    cv2.putText(picture, text, (left, bottom), _FONT, size, (20, 20, 20), 1, cv2.LINE_AA)


def _make_image_message(header: Header, encoding: str, pixels: np.ndarray) -> Image:
    height, width = pixels.shape[:2]
    data, flat = make_buffer(pixels.size, pixels.dtype)
    flat[:] = pixels.ravel()
    message = make_message(Image, header=header, height=height, width=width, encoding=encoding)
    message.step, message.data = len(data) // height, data
    return message
