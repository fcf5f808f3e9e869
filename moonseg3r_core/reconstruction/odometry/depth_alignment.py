"""First depth made comparable with landmarks: metric depth as it is, relative depth by a scale and a shift of its inverse.

Networks of relative depth predict inverse depth up to both (Ranftl et al., 2020, "Towards Robust Monocular Depth
Estimation"). The values of a frame are fitted to its landmarks; the next frame starts from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.reconstruction.key_views import KeyViews
from moonseg3r_core.reconstruction.odometry.depth_correction import estimate_depth_ratios
from moonseg3r_core.reconstruction.odometry.tracker import MAX_LOG_RATIO, TrackedFrame
from moonseg3r_core.runtime.state import Stateless, load_parts, prefix_states, read_tensor
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import PixelGrid

START_DEPTH, START_RANGE = 2.0, 4.0  # of a first view: its median depth, and its far over its near depth
NEAR, FAR = 0.98, 0.02  # quantiles of inverse depth that are its near and its far end
MIN_INVERSE = 0.01  # of an aligned depth; a shift can make inverse depths negative
MAX_SIGMA, MIN_LANDMARKS = 0.2, 12  # of landmarks whose depth is known by parallax; that many make a fit
MIN_SIGMA = 0.05  # of a landmark
SIGMA_SCALE, SIGMA_SLOPE = 1.0, 0.5  # how far both move from one frame to the next
MIN_SLOPE = 0.1  # a fit that makes depth flatter, or turns near and far around, is wrong
CAUCHY, STEPS = 2.0, 6  # deviations, or multiples of the median one, from which a landmark counts less


class DepthAlignment(Stateful, Protocol):
    """Makes a network's first depth (h, w) depth in the map's unit; `is_known`: whether landmarks have shown how."""

    @property
    def is_known(self) -> bool: ...

    def convert(self, first: Tensor) -> Tensor:
        """Convert first depth (h, w), 0 = unknown, as the last frame showed how."""

    def correct(
        self, pixels: np.ndarray, known: np.ndarray, log_ratios: np.ndarray, sigmas: np.ndarray, depth: np.ndarray
    ) -> np.ndarray:
        """Estimate true over converted depth, as `estimate_depth_ratios` does."""

    def reset(self) -> None: ...


class MetricDepth(Stateless):
    """First depth that is depth already, up to smooth errors of `prior_sigma` that landmarks correct."""

    is_known = True

    def __init__(self, prior_sigma: float) -> None:
        self._prior_sigma = prior_sigma

    def convert(self, first: Tensor) -> Tensor:
        return first

    def correct(
        self, pixels: np.ndarray, known: np.ndarray, log_ratios: np.ndarray, sigmas: np.ndarray, depth: np.ndarray
    ) -> np.ndarray:
        return estimate_depth_ratios(pixels, known, log_ratios, sigmas, depth, self._prior_sigma)


class RelativeDepth:
    """First depth whose inverse is right up to a scale and a shift, and smooth errors of `prior_sigma`."""

    def __init__(self, prior_sigma: float) -> None:
        self._prior_sigma = prior_sigma
        self.reset()

    def reset(self) -> None:
        self.is_known = False
        self._line: np.ndarray | None = None  # scale and shift of the inverse of first depth

    def convert(self, first: Tensor) -> Tensor:
        """Convert first depth by the last line; that of a first view makes an assumed range of it."""
        inverse = 1 / first
        if self._line is None and bool((first > 0).any()):
            self._line = _assume_line(inverse[first > 0].double().cpu().numpy())
        scale, shift = (1.0, 0.0) if self._line is None else self._line.tolist()
        return torch.where(first > 0, 1 / (scale * inverse + shift).clamp(min=MIN_INVERSE), 0.0)

    def correct(
        self, pixels: np.ndarray, known: np.ndarray, log_ratios: np.ndarray, sigmas: np.ndarray, depth: np.ndarray
    ) -> np.ndarray:
        """Fit the line of inverse depth to the landmarks, and correct smoothly what is left."""
        sure = sigmas < MAX_SIGMA
        fitted = fit_line(1 / known[sure], np.exp(-log_ratios[sure]) / known[sure], sigmas[sure])
        if fitted is None:
            return estimate_depth_ratios(pixels, known, log_ratios, sigmas, depth, self._prior_sigma)
        scale, shift = fitted
        former = np.array([1.0, 0.0]) if self._line is None else self._line
        self._line, self.is_known = scale * former + (0.0, shift), True
        ratios, at = apply_line(depth, *fitted) / np.where(depth > 0, depth, 1.0), apply_line(known, *fitted)
        left = log_ratios + np.log(known / at)
        smooth = estimate_depth_ratios(pixels, at, left, sigmas, ratios * depth, self._prior_sigma)
        return (ratios * smooth).astype(np.float32)

    def state_dict(self) -> dict[str, Tensor]:
        line = np.zeros(0) if self._line is None else self._line
        return {"line": torch.from_numpy(line.copy()), "known": torch.tensor([self.is_known])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        line = read_tensor(state, "line", ("0 or 2",), torch.float64).numpy()
        self.is_known = bool(read_tensor(state, "known", (1,), torch.bool))
        self._line = line if len(line) else None


def fit_line(inverse: np.ndarray, true: np.ndarray, sigmas: np.ndarray) -> tuple[float, float] | None:
    """Fit true = scale * inverse + shift to inverse depths (n,) by least squares of relative errors, robustly.

    sigmas (n,): of the logs of the true ones. Scale and shift 1, 0 are expected, the less strictly the more landmarks
    there are. None with too few landmarks, or where near and far would change places.
    """
    if len(inverse) < MIN_LANDMARKS:
        return None
    middle = float(np.median(inverse))
    terms = np.column_stack((np.full(len(inverse), middle), inverse - middle)) / true[:, None]
    noise = np.hypot(sigmas, MIN_SIGMA)
    prior = np.diag([SIGMA_SCALE**-2, SIGMA_SLOPE**-2])
    weights, found = noise**-2, np.ones(2)
    for _ in range(STEPS):
        found = np.linalg.solve(terms.T @ (weights[:, None] * terms) + prior, terms.T @ weights + prior @ np.ones(2))
        off = np.abs(terms @ found - 1) / noise
        weights = noise**-2 / (1 + (off / (CAUCHY * max(1, np.median(off)))) ** 2)
    level, slope = found.tolist()
    return (slope, middle * (level - slope)) if slope > MIN_SLOPE else None


def apply_line(depths: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Apply a line to the inverse of depths of any shape, 0 = unknown."""
    inverse = scale / np.where(depths > 0, depths, 1.0) + shift
    return np.where(depths > 0, 1 / np.maximum(inverse, MIN_INVERSE), 0.0)


def _assume_line(inverse: np.ndarray) -> np.ndarray:
    """Assume the line (2,) of inverse depths (n,) that gives a first view the usual median depth and range."""
    far, middle, near = np.quantile(inverse, (FAR, 0.5, NEAR))
    slope = (START_RANGE - 1) / max(near - far, 1e-6 * near)
    level = 1 / START_DEPTH / (1 + slope * (middle - far))
    return np.array([level * slope, level * (1 - slope * far)])


class Odometry(Stateful, Protocol):
    """What tracks a camera, as `tracker.Tracker` does, or does so and more around one."""

    def __call__(self, image: np.ndarray, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> TrackedFrame: ...

    def take_depth(self, depth: Tensor, intrinsics: Tensor) -> None: ...

    def get_anchor_pose(self, anchor: int) -> Tensor | None: ...

    def list_key_views(self) -> KeyViews: ...

    def reset(self) -> None: ...


class AlignedTracker:
    """A tracker over first depth that is aligned with its landmarks. It is called as a tracker is."""

    def __init__(self, tracker: Odometry, alignment: DepthAlignment) -> None:
        self._tracker, self._alignment = tracker, alignment

    def __call__(self, image: np.ndarray, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> TrackedFrame:
        converted = self._alignment.convert(depth)
        tracked = self._tracker(image, converted, intrinsics, grid)
        if not tracked.found:
            return tracked
        ratios = self._correct(tracked, converted.cpu().numpy())
        per_first = torch.where(depth > 0, converted / depth, 1.0).cpu()
        return replace(tracked, ratios=ratios * per_first)

    def _correct(self, tracked: TrackedFrame, depth: np.ndarray) -> Tensor:
        landmarks = tracked.landmarks
        columns, rows = landmarks.pixels.round().long().numpy().T
        known = depth[rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)]
        log_ratios = np.log(landmarks.depths.numpy().clip(1e-9) / known.clip(1e-9))
        usable = (known > 0) & (np.abs(log_ratios) < MAX_LOG_RATIO)
        if not usable.any():
            return torch.ones(depth.shape)
        pixels, sigmas = landmarks.pixels.numpy()[usable], landmarks.sigmas.numpy()[usable]
        return torch.from_numpy(self._alignment.correct(pixels, known[usable], log_ratios[usable], sigmas, depth))

    def take_depth(self, depth: Tensor, intrinsics: Tensor) -> None:
        """Take better depth of the last frame, as the tracker does."""
        self._tracker.take_depth(depth, intrinsics)

    def get_anchor_pose(self, anchor: int) -> Tensor | None:
        """Return the pose of a keyframe, as the tracker does."""
        return self._tracker.get_anchor_pose(anchor)

    def list_key_views(self) -> KeyViews:
        """List the keyframes, as the tracker does."""
        return self._tracker.list_key_views()

    def reset(self) -> None:
        self._tracker.reset()
        self._alignment.reset()

    def state_dict(self) -> dict[str, Tensor]:
        return self._tracker.state_dict() | prefix_states(alignment=self._alignment.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_parts(state, alignment=self._alignment)
        self._tracker.load_state_dict(state)
