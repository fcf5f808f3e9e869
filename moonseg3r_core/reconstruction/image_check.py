"""Check of images, with a reason in words, so that unusable ones do not reach a map."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from torch import Tensor

from moonseg3r_core.ops.running_median import RunningMedian

_SIDE = 256  # pixels of the small copy that is checked
_MIN_BRIGHTNESS, _MIN_CONTRAST = 12.0, 6.0  # grey levels of 255, between the 1st and the 99th percentile
_MIN_SHARPNESS = 0.25  # share of the recent images' sharpness; real sequences stay above 0.39
_WINDOW, _MIN_IMAGES = 15, 3  # recent images in the median, and how many it needs


class ImageCheck:
    """Image -> why it is unusable: black, of one color, or blurred; empty when it is usable.

    Sharpness is the variance of the Laplacian of a small copy, against the median of recent images. Blurred images
    count in the median, so that a camera that keeps facing a plain wall is soon accepted.
    """

    def __init__(self) -> None:
        self._sharpness = RunningMedian(_WINDOW)

    def __call__(self, image: np.ndarray) -> str:
        """Image (H, W, 3) uint8 RGB."""
        gray = shrink_to_gray(image, _SIDE)
        low, high = np.percentile(gray, (1, 99))
        if high < _MIN_BRIGHTNESS:
            return "the image is black"
        if high - low < _MIN_CONTRAST:
            return "the image is of one color"
        sharpness = float(cv2.Laplacian(gray, cv2.CV_32F).var())
        usual, enough = self._sharpness.value, len(self._sharpness) >= _MIN_IMAGES
        self._sharpness.add(sharpness)
        return "the image is blurred" if enough and sharpness < _MIN_SHARPNESS * usual else ""

    def reset(self) -> None:
        self._sharpness.reset()

    def state_dict(self) -> dict[str, Tensor]:
        return self._sharpness.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._sharpness.load_state_dict(state)


def shrink_to_gray(image: np.ndarray, side: int) -> np.ndarray:
    """Shrink an image (H, W, 3) uint8 RGB to gray (h, w) uint8, its long side `side` pixels."""
    scale = side / max(image.shape[:2])
    h, w = (max(round(side * scale), 1) for side in image.shape[:2])
    return cv2.cvtColor(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
