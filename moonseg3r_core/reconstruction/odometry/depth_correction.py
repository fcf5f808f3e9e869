"""A net's depth corrected where points are known: a smooth field of ratios over a picture (Gaussian process regression)."""

from __future__ import annotations

import cv2
import numpy as np

_REACH = 0.15  # of the long side: so far apart two pixels' ratios are alike ...
_LAYER = 0.3  # ... and so far in the log of depth: what lies behind something has a ratio of its own
_PRIOR = 0.25  # the spread of the log of ratios in a picture
_FLOOR = 0.05  # the spread of a known point's own, at best
_POINTS = 250  # at most, the surest ones
_STEP = 2  # pixels: the field is worked out at every second, and between them it is straight


def estimate_depth_ratios(
    places: np.ndarray, known: np.ndarray, logs: np.ndarray, spreads: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """What a net's depth (h, w), 0 = unknown, is to be multiplied with (h, w) float32: from places (n, 2) in pixels, n > 0,
    the net's depth there (n,), and the logs of the right depth over it (n,) with their spreads (n,).
    """
    height, width = depth.shape
    surest = np.argsort(spreads)[:_POINTS]
    logs, noise = logs[surest], np.hypot(spreads[surest], _FLOOR) ** 2
    middle = _weighted_median(logs, 1 / noise)
    reach = _REACH * max(height, width)
    at = np.column_stack((places[surest] / reach, np.log(known[surest]) / _LAYER))
    v, u = np.mgrid[0:height:_STEP, 0:width:_STEP] + (_STEP - 1) / 2  # the middle of what a coarse pixel covers
    coarse = depth[::_STEP, ::_STEP]
    asked = np.stack((u / reach, v / reach, np.log(np.where(coarse > 0, coarse, 1.0)) / _LAYER), axis=-1)
    weights = np.linalg.solve(_alike(at, at) + np.diag(noise), logs - middle)
    field = _alike(asked.reshape(-1, 3).astype(np.float32), at.astype(np.float32)) @ weights.astype(np.float32)
    smooth = cv2.resize(field.reshape(v.shape), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.exp(smooth + np.float32(middle))


def _alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The covariance (n, m) of the logs of ratios at (n, 3) and (m, 3)."""
    apart = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    return _PRIOR**2 * np.exp(-0.5 * apart)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
