"""Keep a few evenly spaced pictures of a stream of unknown length."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Picture:
    """A frame in the report: image (h, w, 3) uint8 RGB and final ids (h, w)."""

    index: int
    image: np.ndarray
    ids: np.ndarray


class Gallery:
    """Keeps every n-th image, reduced to `width` pixels, and doubles n above `max_images`."""

    def __init__(self, max_images: int, width: int) -> None:
        self.max_images, self.width = max_images, width
        self.images: dict[int, np.ndarray] = {}  # by frame index
        self._stride, self._offered = 1, 0

    def offer(self, index: int, image: np.ndarray) -> None:
        """Offer the next frame of the stream: image (H, W, 3) uint8 RGB."""
        if self._offered % self._stride == 0:
            self.images[index] = shrink(image, self.width)
        self._offered += 1
        if len(self.images) > self.max_images:
            self.images = dict(list(self.images.items())[::2])
            self._stride *= 2


def select_evenly(pictures: list[Picture], count: int) -> list[Picture]:
    """Select at most `count` evenly spaced pictures, with the first and the last."""
    places = np.linspace(0, len(pictures) - 1, min(count, len(pictures)))
    return [pictures[k] for k in np.rint(places).astype(int)]


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """Copy an image, reduced to at most `width` pixels in width."""
    if image.shape[1] <= width:
        return image.copy()
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def shrink_ids(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize an id map to the height and width of `shape`, int32."""
    return cv2.resize(ids.astype(np.int32), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
