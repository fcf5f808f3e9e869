"""A net's depth corrected at known points: a smooth field of ratios over an image, by Gaussian process regression.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), section 2.2.
"""

from __future__ import annotations

import cv2
import numpy as np

_LENGTH_PX = 0.15  # length scale of the covariance over the image, as a share of its long side
_LENGTH_LOG_DEPTH = 0.3  # and over log depth, so that a surface behind an edge has a ratio of its own
PRIOR_SIGMA = 0.25  # standard deviation of the log ratio within an image, of a small net
_MIN_SIGMA = 0.05  # of a known point
_MAX_POINTS = 250
_CELLS = 16  # of the long side: points are taken from all cells alike, those with the least sigma first
_STRIDE = 2  # pixels: the field is computed at every second one and interpolated between


def estimate_depth_ratios(
    pixels: np.ndarray, known: np.ndarray, log_ratios: np.ndarray, sigmas: np.ndarray, depth: np.ndarray,
    prior_sigma: float = PRIOR_SIGMA,
) -> np.ndarray:  # fmt: skip
    """Estimate true depth over the net's for each pixel, (h, w) float32.

    Known points: pixels (n, 2) as u, v, n > 0; the net's depth there (n,); the log of true over net depth (n,) and its
    sigma (n,). depth (h, w): the net's, 0 = unknown; prior_sigma: how far its log is off within an image.
    """
    height, width = depth.shape
    best = _spread_out(pixels, sigmas, max(height, width) / _CELLS)
    log_ratios, noise = log_ratios[best], np.hypot(sigmas[best], _MIN_SIGMA) ** 2
    mean = _compute_weighted_median(log_ratios, 1 / noise)
    length = _LENGTH_PX * max(height, width)
    inputs = np.column_stack((pixels[best] / length, np.log(known[best]) / _LENGTH_LOG_DEPTH))
    v, u = np.mgrid[0:height:_STRIDE, 0:width:_STRIDE] + (_STRIDE - 1) / 2  # the centre of a coarse pixel
    coarse = depth[::_STRIDE, ::_STRIDE]
    log_depth = np.log(np.where(coarse > 0, coarse, 1.0)) / _LENGTH_LOG_DEPTH
    queries = np.stack((u / length, v / length, log_depth), axis=-1).reshape(-1, 3)
    weights = np.linalg.solve(prior_sigma**2 * _compute_covariance(inputs, inputs) + np.diag(noise), log_ratios - mean)
    covariance = _compute_covariance(queries.astype(np.float32), inputs.astype(np.float32))
    field = covariance @ (prior_sigma**2 * weights).astype(np.float32)
    smooth = cv2.resize(field.reshape(v.shape), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.exp(smooth + np.float32(mean))


def _spread_out(pixels: np.ndarray, sigmas: np.ndarray, cell: float) -> np.ndarray:
    """Select the points of least sigma, one of each square cell first, then the second of each, and so on: rows."""
    order = np.argsort(sigmas, kind="stable")
    keys = (pixels[order] // cell).astype(int) @ np.array([1, 4096])
    by_cell = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[by_cell], prepend=np.nan))
    turn = np.empty(len(order), int)
    turn[by_cell] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[np.argsort(turn, kind="stable")[:_MAX_POINTS]]


def _compute_covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the squared-exponential covariance (n, m) of unit variance at scaled inputs (n, 3) and (m, 3)."""
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    return np.exp(-0.5 * squared)


def _compute_weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
