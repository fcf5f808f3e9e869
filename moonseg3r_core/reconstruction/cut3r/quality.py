"""Images and outputs that must not reach the state: told apart cheaply, each with its reason in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.intrinsics import make_pose_matrix
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs
from moonseg3r_core.reconstruction.cut3r.net.state import State
from moonseg3r_core.reconstruction.cut3r.running import RunningMedian

_SIDE = 256  # pixels of the copy that is looked at
_DARK, _FLAT = 12.0, 6.0  # grey levels of 255: the brightest of a black image, the spread of one of a single color
_BLURRED = 0.25  # share of the recent images' sharpness; real sequences stay above 0.39
_RECENT, _ENOUGH = 15, 3  # images that tell what sharpness is usual here
_FAR = 1e6  # units; nothing is seen there
_TRUSTED = 0.01  # share of the pixels that a usable frame has points at


class ImageCheck:
    """Image -> why it must not be looked at: black, of one color, or blurred; empty when it may.

    Sharpness is the variance of the Laplacian of a small copy, against the median of recent images. Held ones count too,
    so that a camera that goes on looking at a plain wall is soon believed.
    """

    def __init__(self) -> None:
        self._sharpness = RunningMedian(_RECENT)

    def __call__(self, image: Tensor) -> str:
        """Image (H, W, 3) uint8 RGB."""
        gray = shrink_to_gray(image.cpu().numpy(), _SIDE)
        low, high = np.percentile(gray, (1, 99))
        if high < _DARK:
            return "the image is black"
        if high - low < _FLAT:
            return "the image is of one color"
        return self._blur(float(cv2.Laplacian(gray, cv2.CV_32F).var()))

    def _blur(self, sharpness: float) -> str:
        usual, enough = self._sharpness.value, len(self._sharpness) >= _ENOUGH
        self._sharpness.add(sharpness)
        return "the image is blurred" if enough and sharpness < _BLURRED * usual else ""

    def reset(self) -> None:
        self._sharpness.reset()

    def state_dict(self) -> dict[str, Tensor]:
        return self._sharpness.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._sharpness.load_state_dict(state)


def shrink_to_gray(image: np.ndarray, side: int) -> np.ndarray:
    """Image (H, W, 3) uint8 RGB as gray (h, w) uint8 whose long side has so many pixels."""
    scale = side / max(image.shape[:2])
    h, w = (max(round(side * scale), 1) for side in image.shape[:2])
    return cv2.cvtColor(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class OutputCheck:
    """What is decided by of a frame's outputs, read from the device at once: pose (4, 4) float64 in the net's world;
    depth, the median of trusted pixels in the net's units; `fault`, why they cannot be used, or empty.
    """

    pose: Tensor
    depth: float
    fault: str


def check_outputs(outputs: Outputs, state: State, min_confidence: float) -> OutputCheck:
    """Look at the outputs of one frame and the state that would follow."""
    near = find_confident(outputs.self_points[0], outputs.self_confidence[0], min_confidence)
    shown = near
    if outputs.world_points is not None and outputs.world_confidence is not None:
        shown = find_confident(outputs.world_points[0], outputs.world_confidence[0], min_confidence)
    numbers = (
        torch.minimum(near.float().mean(), shown.float().mean()),
        compute_median_depth(outputs.self_points[0], near),
        (state.tokens.isfinite().all() & state.memory.isfinite().all()).float(),
    )
    values = torch.cat((outputs.pose[0].float(), torch.stack(numbers))).cpu()
    pose, (share, depth, finite) = values[:7], values[7:].tolist()
    fault = _fault(pose, share, bool(finite), min_confidence)
    return OutputCheck(torch.eye(4, dtype=torch.float64) if fault else make_pose_matrix(pose), depth, fault)


def find_confident(points: Tensor, confidence: Tensor, min_confidence: float) -> Tensor:
    """Where points (H, W, 3) are finite, within reach, and sure enough by their confidence (H, W): (H, W) bool."""
    return (points.abs() < _FAR).all(-1) & (confidence >= min_confidence) & confidence.isfinite()


def compute_median_depth(points: Tensor, mask: Tensor) -> Tensor:
    """The median distance () of masked points (H, W, 3) from the camera's plane, NaN where there is none."""
    return torch.where(mask, points[..., 2].abs(), torch.nan).nanmedian()


def _fault(pose: Tensor, share: float, finite: bool, min_confidence: float) -> str:
    if not bool((pose[:3].abs() < _FAR).all() & (pose[3:].norm() > 1e-3) & pose[3:].isfinite().all()):
        return "the net gave no usable pose"
    if not finite:
        return "the net's next state is not finite"
    if share < _TRUSTED:
        return f"less than {_TRUSTED:.0%} of the points reach a confidence of {min_confidence:g}"
    return ""
