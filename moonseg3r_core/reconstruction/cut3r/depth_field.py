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


def ratios(places: np.ndarray, logs: np.ndarray, spreads: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """What a net's depth (h, w), 0 = unknown, is to be multiplied with (h, w) float32, from the logs of the ratios at places
    (n, 2) in pixels and their spreads (n,); places must lie on known depth. Ones where n is 0.
    """
    height, width = depth.shape
    if not len(places):
        return np.ones((height, width), np.float32)
    surest = np.argsort(spreads)[:_POINTS]
    places, logs, noise = places[surest], logs[surest], np.hypot(spreads[surest], _FLOOR) ** 2
    middle = _weighted_median(logs, 1 / noise)
    reach = _REACH * max(height, width)
    columns, rows = np.rint(places).astype(int).T
    known = np.column_stack((places / reach, np.log(depth[rows, columns]) / _LAYER))
    v, u = np.mgrid[0:height:_STEP, 0:width:_STEP]
    coarse = depth[::_STEP, ::_STEP]
    asked = np.stack((u / reach, v / reach, np.log(np.where(coarse > 0, coarse, 1.0)) / _LAYER), axis=-1)
    weights = np.linalg.solve(_alike(known, known) + np.diag(noise), logs - middle)
    field = _alike(asked.reshape(-1, 3).astype(np.float32), known.astype(np.float32)) @ weights.astype(np.float32)
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
