"""Checks of images and outputs, each with a reason in words, so that unusable ones do not reach the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.ops.running_median import RunningMedian
from moonseg3r_core.reconstruction.cut3r.net.heads import make_pose_matrix
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.net.state import State

_SIDE = 256  # pixels of the small copy that is checked
_MIN_BRIGHTNESS, _MIN_CONTRAST = 12.0, 6.0  # grey levels of 255, between the 1st and the 99th percentile
_MIN_SHARPNESS = 0.25  # share of the recent images' sharpness; real sequences stay above 0.39
_WINDOW, _MIN_IMAGES = 15, 3  # recent images in the median, and how many it needs
_MAX_DISTANCE = 1e6  # units
_MIN_SHARE = 0.01  # of the pixels with a confident point


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


@dataclass(frozen=True)
class OutputCheck:
    """What decisions need of a frame's outputs: pose (4, 4) float64 in the net's world; depth, the median of confident
    pixels in the net's units; fault, why the outputs are unusable, or empty.
    """

    pose: Tensor
    depth: float
    fault: str


def check_outputs(outputs: Outputs, state: State, min_confidence: float) -> OutputCheck:
    """Check a frame's outputs and the next state. All numbers come from the device in one transfer."""
    self_mask = find_confident(outputs.self_points[0], outputs.self_confidence[0], min_confidence)
    world_mask = self_mask
    if outputs.world_points is not None and outputs.world_confidence is not None:
        world_mask = find_confident(outputs.world_points[0], outputs.world_confidence[0], min_confidence)
    numbers = (
        torch.minimum(self_mask.float().mean(), world_mask.float().mean()),
        compute_median_depth(outputs.self_points[0], self_mask),
        (state.tokens.isfinite().all() & state.memory.isfinite().all()).float(),
    )
    values = torch.cat((outputs.pose[0].float(), torch.stack(numbers))).cpu()
    pose, (share, depth, finite) = values[:7], values[7:].tolist()
    fault = _find_fault(pose, share, bool(finite), min_confidence)
    return OutputCheck(torch.eye(4, dtype=torch.float64) if fault else make_pose_matrix(pose), depth, fault)


def find_confident(points: Tensor, confidence: Tensor, min_confidence: float) -> Tensor:
    """Find points (H, W, 3) that are finite, within reach, and of enough confidence (H, W): (H, W) bool."""
    return (points.abs() < _MAX_DISTANCE).all(-1) & (confidence >= min_confidence) & confidence.isfinite()


def compute_median_depth(points: Tensor, mask: Tensor) -> Tensor:
    """Compute the median |z| () of masked points (H, W, 3); NaN without any."""
    return torch.where(mask, points[..., 2].abs(), torch.nan).nanmedian()


def _find_fault(pose: Tensor, share: float, finite: bool, min_confidence: float) -> str:
    if not bool((pose[:3].abs() < _MAX_DISTANCE).all() & (pose[3:].norm() > 1e-3) & pose[3:].isfinite().all()):
        return "the net gave no usable pose"
    if not finite:
        return "the net's next state is not finite"
    if share < _MIN_SHARE:
        return f"less than {_MIN_SHARE:.0%} of the points reach a confidence of {min_confidence:g}"
    return ""
