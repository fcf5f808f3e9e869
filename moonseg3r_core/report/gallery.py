"""A few evenly spaced pictures of a stream whose length nobody knows beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Picture:
    """A frame as the report shows it: image (h, w, 3) uint8 RGB, and ids (h, w) once they are final."""

    index: int
    image: np.ndarray
    ids: np.ndarray


class Gallery:
    """Keeps every n-th image, small, and doubles n when it holds too many: `most` stay at the most, half of it at least."""

    def __init__(self, most: int = 48, width: int = 640) -> None:
        self.most = most
        self.width = width
        self._images: dict[int, np.ndarray] = {}
        self._stride = 1
        self._offered = 0

    def offer(self, index: int, image: np.ndarray) -> None:
        """One frame of the stream in its order: image (H, W, 3) uint8 RGB."""
        if self._offered % self._stride == 0:
            self._images[index] = shrink(image, self.width)
        self._offered += 1
        if len(self._images) > self.most:
            self._images = dict(list(self._images.items())[::2])
            self._stride *= 2

    @property
    def images(self) -> Mapping[int, np.ndarray]:
        """The images kept, by frame number."""
        return self._images


def select_evenly(pictures: list[Picture], count: int) -> list[Picture]:
    """At most `count` of them, the first and the last among these."""
    places = np.linspace(0, len(pictures) - 1, min(count, len(pictures)))
    return [pictures[k] for k in np.rint(places).astype(int)]


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """An image at most `width` pixels wide, a copy in any case."""
    if image.shape[1] <= width:
        return image.copy()
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def shrink_ids(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An id map at an image's height and width, int32."""
    return cv2.resize(ids.astype(np.int32), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
